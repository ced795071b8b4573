/// What a recording keeps, and where.
public struct RecordingConfiguration: Sendable {
    /// The files of records, if there are to be any.
    public var files: RecordFiles?
    /// Whether contents are kept, or what is known about calls alone.
    public var keepsContents = true
    /// Whether each record is put into the store's outbox too, for those who follow along; who switched a recording on or off always is.
    public var fillsOutbox = false
    /// What is taken out of contents before they leave the call.
    public var redaction = Redaction.standard
    /// The share of calls that is taken, above 0 and at most 1: chosen by a hash of the subject, or of the run where there is none.
    public var sample = 1.0
    /// What it is for.
    public var description: String?

    private init() {}

    /// Rows in the store alone.
    public static let minimal = RecordingConfiguration()

    /// Rows, and a file for each record.
    public static func enhanced(_ files: RecordFiles) -> RecordingConfiguration {
        var result = RecordingConfiguration()
        result.files = files
        return result
    }

    /// Rows, files, and messages in the outbox.
    public static func full(_ files: RecordFiles) -> RecordingConfiguration {
        var result = enhanced(files)
        result.fillsOutbox = true
        return result
    }
}
