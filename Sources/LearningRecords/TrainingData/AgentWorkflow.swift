package import Reasoning
internal import TensorCore

/// Work of several steps. Told as often as something changes: what is known already stays.
public struct AgentWorkflow: Sendable, Hashable {
    /// The application's identifier, unique among the project's workflows.
    public var id: String
    /// What it is called.
    public var name: String
    /// What it is for.
    public var summary: String?
    /// What kind of workflow it is.
    public var type: String?
    /// The phase that it is in, as the application names phases.
    public var phase: String?
    /// How far it has come.
    public var status: SpanStatus
    /// The step that it is at.
    public var currentStep: String?
    /// How many steps there are.
    public var totalSteps: Int64?
    /// How many are done; never becomes less.
    public var completedSteps: Int64?
    /// What it has to remember.
    public var state: RecordContent?
    /// What its steps gave.
    public var results: RecordContent?
    /// The agents that work on it.
    public var agents: [String]?
    /// What went wrong.
    public var error: String?
    /// Further facts: a JSON object.
    public var metadata: String?
    /// Words to find it by.
    public var tags: [String]?
    /// Whom it is about: the subject whose contents an erasure deletes.
    public var subject: String?

    /// A workflow that runs, unless a status is given.
    public init(
        id: String, name: String, summary: String? = nil, type: String? = nil, phase: String? = nil,
        status: SpanStatus = .running, currentStep: String? = nil, totalSteps: Int64? = nil,
        completedSteps: Int64? = nil, state: RecordContent? = nil, results: RecordContent? = nil,
        agents: [String]? = nil, error: String? = nil, metadata: String? = nil, tags: [String]? = nil,
        subject: String? = nil
    ) {
        (self.id, self.name, self.summary, self.type, self.phase) = (id, name, summary, type, phase)
        (self.status, self.currentStep, self.totalSteps) = (status, currentStep, totalSteps)
        (self.completedSteps, self.state, self.results, self.agents) = (completedSteps, state, results, agents)
        (self.error, self.metadata, self.tags, self.subject) = (error, metadata, tags, subject)
    }

    /// Why it cannot be kept; `nil` where it can.
    package func refusal(_ operation: String) -> RecordError? {
        func invalid(_ what: String) -> RecordError { RecordError(.invalid, operation, what) }
        let texts: [(String?, String)] = [
            (id, "identifier"), (name, "name"), (type, "type"), (phase, "phase"), (currentStep, "current step"),
            (subject, "subject"),
        ]
        for (text, what) in texts + (agents ?? []).map({ ($0, "name of an agent") })
            + (tags ?? []).map({ ($0, "tag") })
        {
            guard let text else { continue }
            if SpanRecord.fitting(text) != text {
                return invalid("the \(what) has more than \(SpanRecord.longestName) bytes, or a character of number 0")
            }
        }
        if id.isEmpty { return invalid("it has no identifier") }
        if name.isEmpty { return invalid("it has no name") }
        let numbers: [(Int64?, String)] = [
            (totalSteps, "number of steps"), (completedSteps, "number of completed steps"),
        ]
        for (number, what) in numbers {
            if let number, number < 0 { return invalid("the \(what) is \(number), below 0") }
        }
        for content in [state, results].compactMap({ $0 }) where content.byteCount > SpanRecord.largestContent {
            return invalid("its state or results have more than \(SpanRecord.largestContent) bytes")
        }
        for text in [summary, error] {
            if let text, text.utf8.count > SpanRecord.largestContent || text.utf8.contains(0) {
                return invalid("its summary or error is too long, or has a character of number 0")
            }
        }
        if let metadata, metadata.utf8.count > SpanRecord.largestContent || !JSONCheck.isObject(metadata) {
            return invalid("the metadata is no JSON object of at most \(SpanRecord.largestContent) bytes")
        }
        return nil
    }

    /// What it becomes when it is told of again: see ``SpanRecord/merged(with:)``. Of two that run, the one with more completed steps
    /// is the later one.
    package func merged(with newer: AgentWorkflow) -> AgentWorkflow {
        var isLater = newer.status.rank > status.rank || newer.status == status && !status.isFinal
        if newer.status == status, let ours = completedSteps, let theirs = newer.completedSteps, !status.isFinal {
            isLater = theirs >= ours
        }
        let (winner, other) = isLater ? (newer, self) : (self, newer)
        var merged = winner
        merged.summary = winner.summary ?? other.summary
        merged.type = winner.type ?? other.type
        merged.phase = winner.phase ?? other.phase
        merged.currentStep = winner.currentStep ?? other.currentStep
        merged.totalSteps = winner.totalSteps ?? other.totalSteps
        merged.completedSteps = [winner.completedSteps, other.completedSteps].compactMap { $0 }.max()
        merged.state = winner.state ?? other.state
        // Of two that ended differently one is wrong about how.
        let isContradicted = winner.status != other.status && other.status.isFinal
        merged.results = winner.results ?? (isContradicted ? nil : other.results)
        merged.agents = winner.agents ?? other.agents
        merged.error = winner.error ?? (isContradicted ? nil : other.error)
        merged.metadata = winner.metadata ?? other.metadata
        merged.tags = winner.tags ?? other.tags
        merged.subject = winner.subject ?? other.subject
        return merged
    }

    /// The workflow as a JSON object: what its message says.
    package var json: [UInt8] {
        var json = JSONOutput()
        json.beginObject()
        write(to: &json)
        json.endObject()
        return json.bytes
    }

    /// The same with its times, as an archive keeps it among spans.
    package func json(createdAt: Timestamp, updatedAt: Timestamp) -> [UInt8] {
        var json = JSONOutput()
        json.beginObject()
        json.member("kind", "workflow")
        write(to: &json)
        json.member("created_at", createdAt)
        json.member("updated_at", updatedAt)
        json.endObject()
        return json.bytes
    }

    private func write(to json: inout JSONOutput) {
        json.member("workflow_id", id)
        json.member("name", name)
        json.member("description", summary)
        json.member("workflow_type", type)
        json.member("phase", phase)
        json.member("status", status.rawValue)
        json.member("current_step", currentStep)
        json.member("total_steps", totalSteps)
        json.member("completed_steps", completedSteps)
        json.raw("state_data", state?.stored ?? "null")
        json.raw("step_results", results?.stored ?? "null")
        json.raw("assigned_agents", Self.list(agents) ?? "null")
        json.member("error", error)
        json.raw("metadata", metadata ?? "null")
        json.raw("tags", Self.list(tags) ?? "null")
        json.member("entity_id", subject)
    }

    /// Texts as a JSON list.
    package static func list(_ texts: [String]?) -> String? {
        texts.map { "[" + $0.map { JSONOutput.quoted($0) }.joined(separator: ",") + "]" }
    }

    /// The texts of a JSON list; `nil` for anything else.
    package static func texts(_ list: String) -> [String]? {
        guard case .array(let values)? = JSONCheck.value(list)?.content else { return nil }
        var texts: [String] = []
        for value in values {
            guard case .string(let text) = value.content else { return nil }
            texts.append(text)
        }
        return texts
    }
}
