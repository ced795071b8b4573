import LearningLoop
import LearningRecords
import LoRA
import Personalization
import Reasoning
import SQLiteStorage

/// Tasks and scores that are told while their process is killed, who follows them, and what looks at it afterwards.
struct Telling {
    /// Whose adapter learns from the scores; nothing else teaches it.
    static let user = "scored"
    private static let consumer = "kill loop"
    private let store: SQLiteRecordStore

    init(_ store: SQLiteRecordStore) { self.store = store }

    /// Tells one task after the other, twice in states that come in no order, and a score of what was done.
    func tell() async throws {
        let data = TrainingData(store, redaction: .none)
        try await store.setConsent(true, of: Self.user, to: .personalLearning)
        while true {
            let id = "task \(UInt64.random(in: 0...(.max)))"
            for status in [SpanStatus.running, .completed].shuffled() {
                try await data.storeAgentTask(
                    AgentTask(
                        "t", id: id, status: status, output: status == .completed ? .text(id) : nil, subject: Self.user)
                )
            }
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

    /// Follows the tasks: says each message before it acknowledges it.
    func follow() async throws {
        let stream = store.stream(.agentTasks, consumer: Self.consumer)
        for try await message in stream {
            say(.delivered(message.sequence))
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

    /// Whether each told task is there, each message up to the consumer's position was delivered, in order in each process, and each score
    /// taught once.
    func check(_ lines: [Line], _ engine: PersonalizationEngine) async throws -> String {
        var delivered: Set<Int64> = []
        var last: Int64 = 0
        var told = 0
        for line in lines {
            switch line {
            case .round: last = 0
            case .told(let id):
                let span = try await store.span(.task, externalID: id)
                guard span?.status == .completed, span?.contents[.output] == .text(id) else {
                    fail("\(id): \(span as Any)")
                }
                told += 1
            case .delivered(let sequence):
                if sequence <= last { fail("message \(sequence) came after \(last)") }
                last = sequence
                delivered.insert(sequence)
            default: break
            }
        }
        let position = try await store.position(of: Self.consumer, in: .agentTasks)
        let messages = try await all(.agentTasks)
        for message in messages where message <= position && !delivered.contains(message) {
            fail("message \(message) was never delivered, and \(position) is acknowledged")
        }
        if messages.count < told { fail("\(told) tasks, and \(messages.count) messages") }
        let scores = try await all(.scores)
        // What the adapter has learned and how far the bridge has come are of one transaction.
        let bridged = try await engine.position(in: "\(TrainingTopic.scores.rawValue)/personalization")
        let version = Int(try await engine.adapter(for: Self.user)?.version ?? 0)
        let learned = scores.count { $0 <= bridged }
        guard version == learned else {
            fail("\(learned) scores up to the bridge's position, and the adapter has learned \(version) times")
        }
        let acknowledged = try await store.position(of: "personalization", in: .scores)
        if acknowledged > bridged {
            fail("the store was told of position \(acknowledged), and the journal is at \(bridged)")
        }
        return
            "\(told) tasks, \(delivered.count) of \(messages.count) messages delivered, \(version) of \(scores.count) scores learned"
    }

    private func all(_ topic: TrainingTopic) async throws -> [Int64] {
        var (all, position) = ([Int64](), Int64(0))
        while true {
            let page = try await store.messages(topic, after: position, limit: 10_000)
            guard let last = page.last else { return all }
            all += page.map(\.sequence)
            position = last.sequence
        }
    }
}
