/// What is known of a model call before it is made.
public struct ModelCall: Sendable, Hashable {
    /// The model's type, as the application names it: `TEXT_LARGE`.
    public var modelType: String
    /// Who serves it.
    public var provider: String?
    /// The model that is asked for.
    public var model: String?
    /// Who and where the call belongs to.
    public var context: SpanContext
    /// The run that it is a step of; a run of its own unless given.
    public var trace: RecordID?
    /// The step that it is a part of.
    public var parent: RecordID?
    /// The application's own identifier, unique among model calls.
    public var externalID: String?

    /// A call of a model of a type.
    public init(
        _ modelType: String, provider: String? = nil, model: String? = nil, context: SpanContext = SpanContext(),
        trace: RecordID? = nil, parent: RecordID? = nil, externalID: String? = nil
    ) {
        (self.modelType, self.provider, self.model, self.context) = (modelType, provider, model, context)
        (self.trace, self.parent, self.externalID) = (trace, parent, externalID)
    }
}

/// What came out of a model call.
public struct ModelOutput: Sendable, Hashable {
    /// The answer.
    public var content: RecordContent?
    /// The model that answered, where it says so.
    public var model: String?
    /// Tokens that went in.
    public var inputTokens: Int64?
    /// Tokens that came out.
    public var outputTokens: Int64?
    /// What it cost.
    public var cost: Double?

    /// An answer, and what is known of it.
    public init(
        _ content: RecordContent?, model: String? = nil, inputTokens: Int64? = nil, outputTokens: Int64? = nil,
        cost: Double? = nil
    ) {
        (self.content, self.model, self.inputTokens) = (content, model, inputTokens)
        (self.outputTokens, self.cost) = (outputTokens, cost)
    }

    /// An answer in words.
    public static func text(_ text: String) -> ModelOutput { ModelOutput(.text(text)) }
}

/// What a piece of a stream adds.
public struct ModelChunk: Sendable, Hashable {
    /// Words that follow those before.
    public var text: String
    /// Tokens that went in, so far or in all; the last that is known counts.
    public var inputTokens: Int64?
    /// Tokens that came out, so far; the last that is known counts.
    public var outputTokens: Int64?
    /// The model that answers, where the piece says so.
    public var model: String?

    /// A piece.
    public init(_ text: String, inputTokens: Int64? = nil, outputTokens: Int64? = nil, model: String? = nil) {
        (self.text, self.inputTokens, self.outputTokens, self.model) = (text, inputTokens, outputTokens, model)
    }
}
