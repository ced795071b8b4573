/// Reads rows from JSON Lines as ``JSONLinesWriter`` writes them, which come in pieces of any size. It is used as ``CSVReader``.
///
/// Strict: a line that is no JSON object, an empty line among them, an unknown or repeated member, and a value that is not of its
/// column's type are errors, after which nothing more is read. Besides what a writer makes are accepted: white space between
/// tokens, members in another order, members that are missing, which are NULL, CR LF as the end of a line, a byte order mark and a
/// last line without an end. JSON values are given as their text without white space between its tokens; their numbers and
/// strings are as they were written.
///
/// The file may be hostile: it costs the memory of the last piece and of a few copies of one line up to the limit, and each byte is
/// looked at a few times.
public struct JSONLinesReader: Sendable {
    /// The columns, in the order in which their values are given.
    public let columns: [TrainingColumn]
    private let maximumLineBytes: Int
    private let places: [String: Int]

    private var input = ByteFeed()
    private var failure: TrainingFormatError?
    private var text: [UInt8] = []
    private var line = 1

    /// A reader of rows of these columns. No column, two of one name, or a limit below 1, are a mistake of the caller.
    ///
    /// - Parameters:
    ///   - columns: What objects may have as members.
    ///   - maximumLineBytes: The most bytes of a line, without its end.
    public init(columns: [TrainingColumn], maximumLineBytes: Int = 256 << 20) {
        precondition(maximumLineBytes > 0, "the limit of a reader is 1 or more")
        places = TrainingColumn.places(columns)
        (self.columns, self.maximumLineBytes) = (columns, maximumLineBytes)
    }

    /// Gives the reader the next piece of the file. One after ``finish()`` is a mistake of the caller.
    ///
    /// Pieces that were not read yet are kept: ask ``next()`` for all rows before the next is given.
    public mutating func feed(_ bytes: [UInt8]) { if failure == nil { input.append(bytes) } }

    /// Tells the reader that the file has ended.
    public mutating func finish() { input.finish() }

    /// The next row: a value for each of ``columns``.
    ///
    /// - Returns: `nil` where more bytes are needed, and at the end of the file.
    /// - Throws: What is wrong with the file; the same again whenever it is asked.
    /// - Complexity: O(bytes).
    public mutating func next() throws(TrainingFormatError) -> [TrainingValue]? {
        if let failure { throw failure }
        do throws(TrainingFormatError) {
            return try row()
        } catch {
            failure = error
            text = []
            input.clear()
            throw error
        }
    }

    private mutating func row() throws(TrainingFormatError) -> [TrainingValue]? {
        guard input.skipByteOrderMark() else { throw error(.malformed, "the file begins with half a byte order mark") }
        let run = input.run { $0 == 0x0A }
        guard run.count <= maximumLineBytes - text.count else {
            throw error(.limitExceeded, "the line has more than \(maximumLineBytes) bytes: allow more or split the row")
        }
        text += run
        if input.current == nil {
            guard input.isFinished, !text.isEmpty else { return nil }
        } else {
            input.skip()
        }
        defer {
            text.removeAll(keepingCapacity: true)
            line += 1
        }
        var object = JSONLine(text, line: line)
        return try object.values(columns, places)
    }

    private func error(_ code: TrainingFormatError.Code, _ message: String) -> TrainingFormatError {
        TrainingFormatError(code, line: line, message)
    }
}
