import Foundation
import LearningLoop
import LearningRecords
import LoRA
import Personalization
import Reasoning
import SQLiteStorage

/// Records of each kind and scores that are told while their process is killed, who follows them, and what looks at it afterwards.
struct Telling {
    /// Whose adapter learns from the scores; nothing else teaches it.
    static let user = "scored"
    private static let consumer = "kill loop"
    static let topics = [TrainingTopic.agentEvents, .agentTasks, .toolExecutions, .workflows]
    private let store: SQLiteRecordStore
    private var storage: SQLiteStorage { store.storage }

    init(_ store: SQLiteRecordStore) { self.store = store }

    /// Tells one record of each kind after the other, tasks and workflows twice in states that come in no order, and a score of the task.
    func tell() async throws {
        let data = TrainingData(store, redaction: .none)
        try await store.setConsent(true, of: Self.user, to: .personalLearning)
        while true {
            let id = "record \(UInt64.random(in: 0...(.max)))"
            for status in [SpanStatus.running, .completed].shuffled() {
                try await data.storeAgentTask(
                    AgentTask(
                        "t", id: id, status: status, output: status == .completed ? .text(id) : nil, subject: Self.user)
                )
                try await data.storeWorkflow(
                    AgentWorkflow(id: id, name: "w", status: status, results: status == .completed ? .text(id) : nil))
            }
            _ = try await data.storeAgentEvent(AgentEvent("e", id: id, payload: .text(id)))
            _ = try await data.storeToolExecution(ToolExecution("x", id: id, output: .text(id)))
            say(.told(id))
            guard let span = try await store.span(.task, externalID: id) else { fail("\(id): is gone") }
            let embedding = (0..<Script.dimension).map { Float(($0 * 7 + id.utf8.count) % 5) - 2 }
            try await store.keep(embedding: embedding, .input, of: span.id)
            try await store.keep(embedding: embedding.reversed(), .output, of: span.id)
            guard try await store.store([Score(.thumbs, 1, of: span.id, at: SystemClock().now)]).isEmpty else {
                fail("\(id): its score was refused")
            }
        }
    }

    /// Follows a topic: says each message before it acknowledges it.
    func follow(_ topic: TrainingTopic) async throws {
        let stream = store.stream(topic, consumer: Self.consumer)
        for try await message in stream {
            say(.delivered(topic.rawValue, UInt64(message.sequence)))
            if message.sequence % 3 == 0 { try await stream.acknowledge(message) }
        }
    }

    /// Learns from the scores.
    func learn(_ engine: PersonalizationEngine) async throws {
        let bridge = try ScoreBridge(store, engine)
        while true {
            try await bridge.run()
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Whether each record that was told is there with its message, each message was or is delivered, in order in each process, and each score
    /// up to the bridge's position taught once, and no other.
    func check(_ lines: [Line], _ engine: PersonalizationEngine) async throws -> String {
        var told: [String] = []
        var delivered: [String: Set<Int64>] = [:]
        var last: [String: Int64] = [:]
        for line in lines {
            switch line {
            case .round: last = [:]
            case .told(let id): told.append(id)
            case .delivered(let topic, let number):
                let sequence = Int64(number)
                if sequence <= last[topic, default: 0] {
                    fail("\(topic): \(sequence) came after \(last[topic, default: 0])")
                }
                last[topic] = sequence
                delivered[topic, default: []].insert(sequence)
            default: break
            }
        }
        for id in told {
            let spans = [
                try await store.span(.task, externalID: id)?.contents[.output],
                try await store.span(.event, externalID: id)?.contents[.payload],
                try await store.span(.tool, externalID: id)?.contents[.output],
                try await store.workflow(id)?.results,
            ]
            guard spans == Array(repeating: .text(id), count: 4) else { fail("\(id): \(spans)") }
        }
        var count = 0
        for topic in Self.topics {
            let messages = try await all(topic)
            let ids = Set(try messages.map { try Self.name(in: $0.payload) })
            for id in told where !ids.contains(id) { fail("\(topic): \(id) was told, and there is no message of it") }
            count += messages.count
        }
        try await drain(delivered)
        let scores = try await all(.scores)
        // What the adapter has learned and how far the bridge has come are of one transaction.
        let bridged = try await engine.position(in: "\(TrainingTopic.scores.rawValue)/personalization")
        let entries = try await storage.entries(of: Self.user, after: nil)
        let learned = try scores.filter { $0.sequence <= bridged }.map {
            FeedbackID("score \(try Self.facts($0.payload)["id"] ?? "")")
        }
        guard entries.map(\.id) == learned else {
            fail("the journal has \(entries.count) entries, which are not the \(learned.count) scores up to \(bridged)")
        }
        let version = Int(try await engine.adapter(for: Self.user)?.version ?? 0)
        guard version == learned.count else {
            fail("\(learned.count) scores were learned, and the version is \(version)")
        }
        let acknowledged = try await store.position(of: "personalization", in: .scores)
        if acknowledged > bridged {
            fail("the store was told of position \(acknowledged), and the journal is at \(bridged)")
        }
        let deliveries = delivered.values.reduce(0) { $0 + $1.count }
        return
            "\(told.count) of each kind told, \(deliveries) of \(count) messages delivered, \(version) of \(scores.count) scores learned"
    }

    /// What the application calls the record that a message is about.
    private static func name(in payload: String) throws -> String? {
        let record = try facts(payload)
        let attributes = record["attributes"] as? [String: Any]
        return attributes?["external_id"] as? String ?? record["workflow_id"] as? String
    }

    private static func facts(_ payload: String) throws -> [String: Any] {
        try JSONSerialization.jsonObject(with: Data(payload.utf8)) as? [String: Any] ?? [:]
    }

    /// Follows each topic from where the consumer has come to its end: what was not delivered before must be now.
    private func drain(_ delivered: [String: Set<Int64>]) async throws {
        for topic in Self.topics {
            var known = delivered[topic.rawValue, default: []]
            let messages = try await all(topic).map(\.sequence)
            let position = try await store.position(of: Self.consumer, in: topic)
            if let last = messages.last, last > position {
                for try await message in store.stream(topic, consumer: Self.consumer) {
                    known.insert(message.sequence)
                    if message.sequence == last { break }
                }
            }
            let missing = Set(messages).subtracting(known)
            if !missing.isEmpty { fail("\(topic): never delivered: \(missing.sorted())") }
        }
    }

    private func all(_ topic: TrainingTopic) async throws -> [OutboxMessage] {
        var (all, position) = ([OutboxMessage](), Int64(0))
        while true {
            let page = try await store.messages(topic, after: position, limit: 10_000)
            guard let last = page.last else { return all }
            all += page
            position = last.sequence
        }
    }
}
