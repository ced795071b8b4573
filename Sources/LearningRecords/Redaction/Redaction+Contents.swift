extension Redaction {
    /// A text without what is taken out.
    func text(_ text: String) throws(RedactionError) -> String { try apply(text).text }

    /// A content without what is taken out.
    func content(_ content: RecordContent) throws(RedactionError) -> RecordContent {
        switch content {
        case .text(let text): .text(try apply(text).text)
        // What is no JSON is kept as words, and so it is read.
        case .json(let text):
            isNone || JSONCheck.value(text) != nil
                ? .json(try apply(text, isJSON: true).text) : .text(try apply(text).text)
        }
    }
}
