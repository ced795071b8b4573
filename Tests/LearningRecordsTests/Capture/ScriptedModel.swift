import LearningRecords
import Reasoning
import Synchronization

/// A model that says what it is told to, and counts how often it was asked.
final class ScriptedModel: Sendable {
    struct Refusal: Error, Equatable { let reason: String }

    private let calls = Atomic<Int>(0)

    /// How often it was asked.
    var count: Int { calls.load(ordering: .relaxed) }

    func answer(_ text: String) async -> String {
        calls.add(1, ordering: .relaxed)
        return "You said: \(text)"
    }

    func refuse(_ reason: String) async throws(Refusal) -> String {
        calls.add(1, ordering: .relaxed)
        throw Refusal(reason: reason)
    }

    /// A stream of words, with an error after the last where one is given.
    func stream(_ words: [String], then error: Refusal? = nil, pause: Duration = .zero) -> AsyncThrowingStream<
        String, any Error
    > {
        calls.add(1, ordering: .relaxed)
        return AsyncThrowingStream { continuation in
            let task = Task {
                for word in words {
                    if pause > .zero { try await Task.sleep(for: pause) }
                    continuation.yield(word)
                }
                continuation.finish(throwing: error)
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }
}

/// A store that hangs, fails or counts, as it is told to.
final class TroubledStore: RecordStore {
    enum Trouble: Sendable {
        case none
        case failing
        case hanging
    }

    struct Failure: Error {}

    let inner = InMemoryRecordStore()
    let place = "trouble"
    private let trouble = Mutex<Trouble>(.none)

    init(_ trouble: Trouble) { self.trouble.withLock { $0 = trouble } }

    func become(_ trouble: Trouble) { self.trouble.withLock { $0 = trouble } }

    private func pass() async throws {
        switch trouble.withLock({ $0 }) {
        case .none: return
        case .failing: throw Failure()
        case .hanging:
            while case .hanging = trouble.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(2)) }
        }
    }

    func begin(_ recording: RecordingRecord) async throws {
        try await pass()
        try await inner.begin(recording)
    }

    func store(_ spans: [SpanRecord]) async throws -> [RefusedSpan] {
        try await pass()
        return try await inner.store(spans)
    }

    func end(_ recording: String, dropped: Int, at moment: Timestamp) async throws -> RecordingRecord {
        try await pass()
        return try await inner.end(recording, dropped: dropped, at: moment)
    }

    func recordings(limit: Int) async throws -> [RecordingRecord] { try await inner.recordings(limit: limit) }
    func spans(_ query: SpanQuery) async throws -> [SpanRecord] { try await inner.spans(query) }
    func eraseContents(about subject: String) async throws -> Int {
        try await inner.eraseContents(about: subject)
    }
}
