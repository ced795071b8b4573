extension Redaction {
    /// A text without what is taken out.
    func text(_ text: String) throws(RedactionError) -> String { try apply(text).text }

    /// A content without what is taken out.
    func content(_ content: RecordContent) throws(RedactionError) -> RecordContent {
        switch content {
        case .text(let text): .text(try apply(text).text)
        case .json(let text): .json(try apply(text, isJSON: true).text)
        }
    }
}
