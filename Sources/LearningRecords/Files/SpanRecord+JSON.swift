internal import Reasoning

extension SpanRecord {
    /// The record as a JSON object: what a record's file holds, and a line of an export.
    ///
    /// Times are texts in UTC with microseconds. `attributes` holds the record's own and, for what OpenTelemetry has a name, that name.
    ///
    /// **Source.** OpenTelemetry semantic conventions 1.37 for generative AI: the attributes `gen_ai.*` and `error.type`.
    package var json: [UInt8] {
        var json = JSONOutput()
        json.beginObject()
        write(to: &json)
        json.endObject()
        return json.bytes
    }

    /// The same with the scores that it was given, as an archive keeps it.
    package func json(with scores: [Score]) -> [UInt8] {
        var json = JSONOutput()
        json.beginObject()
        write(to: &json)
        json.beginList("scores")
        for score in scores { score.write(to: &json, comment: score.comment) }
        json.endList()
        json.endObject()
        return json.bytes
    }

    private func write(to json: inout JSONOutput) {
        json.member("id", id.description)
        json.member("session_id", recording)
        json.member("trace_id", trace.description)
        json.member("parent_id", parent?.description)
        json.member("kind", kind.rawValue)
        json.member(kind == .modelCall ? "model_type" : "name", name)
        json.member("agent_id", context.agent)
        json.member("provider", provider)
        json.raw("input_params", contents[.input]?.stored ?? "null")
        json.raw("output", contents[.output]?.stored ?? "null")
        if let payload = contents[.payload] { json.raw("payload", payload.stored) }
        json.member("status", status.rawValue)
        json.member("success", status == .completed)
        json.member("severity", severity.rawValue)
        json.member("error_type", failure?.type)
        json.member("error_message", failure?.message)
        json.member("execution_time_ms", duration.map { Double($0) / 1_000 })
        json.member("time_to_first_chunk_ms", timeToFirstChunk.map { Double($0) / 1_000 })
        json.member("room_id", context.room)
        json.member("entity_id", context.entity)
        json.member("message_id", context.message)
        json.member("created_at", startedAt)
        json.beginObject("attributes")
        for (name, value) in openTelemetryAttributes { json.raw(name, value) }
        if let externalID { json.member("external_id", externalID) }
        if let attributes { json.raw("further", attributes) }
        json.endObject()
    }

    /// What OpenTelemetry has names for, as JSON texts.
    private var openTelemetryAttributes: [(String, String)] {
        var all: [(String, String)] = []
        func add(_ name: String, _ text: String?) { if let text { all.append((name, JSONOutput.quoted(text))) } }
        func add(_ name: String, _ number: Int64?) { if let number { all.append((name, "\(number)")) } }
        let operation: String? =
            switch kind {
            case .modelCall: "generate_content"
            case .tool: "execute_tool"
            case .embedding: "embeddings"
            case .task: "invoke_agent"
            case .event, .message, .retrieval: nil
            }
        add("gen_ai.operation.name", operation)
        add("gen_ai.provider.name", provider)
        add("gen_ai.request.model", requestModel)
        add("gen_ai.response.model", responseModel)
        add("gen_ai.usage.input_tokens", inputTokens)
        add("gen_ai.usage.output_tokens", outputTokens)
        add("gen_ai.tool.name", tool)
        add("gen_ai.agent.id", context.agent)
        add("error.type", failure?.type)
        if let cost, cost.isFinite { all.append(("attune.cost", "\(cost)")) }
        return all
    }
}
