/// What went into a step or came out of it.
public enum RecordContent: Sendable, Hashable {
    /// Words; kept as a JSON string.
    case text(String)
    /// A JSON text (RFC 8259), kept as it is. What is no JSON is kept as words.
    case json(String)

    /// The bytes, as UTF-8.
    public var byteCount: Int {
        switch self {
        case .text(let text), .json(let text): text.utf8.count
        }
    }
}

/// What a content is of its span.
public enum ContentRole: String, Sendable, Hashable, CaseIterable {
    /// What went in: a prompt, a tool's parameters, a task's data.
    case input
    /// What came out.
    case output
    /// An event's.
    case payload
}
