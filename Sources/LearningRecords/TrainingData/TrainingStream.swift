internal import Reasoning

/// What is committed to a topic, as it comes: a consumer gets each message at least once, in order, and goes on where it acknowledged.
///
/// ```swift
/// let stream = store.stream(.agentTasks, consumer: "trainer")
/// for try await message in stream {
///     try await handle(message)
///     try await stream.acknowledge(message)
/// }
/// ```
///
/// A message that was not acknowledged comes again when the topic is followed again, also after a crash: whoever must not do something
/// twice keeps the message's ``OutboxMessage/sequence`` with what was done. A consumer that hangs holds up nobody, and no more than a page
/// of messages is in memory. It ends when its task is cancelled.
///
/// The store is asked again after a pause when there was nothing, so what other processes commit comes too.
public struct TrainingStream: AsyncSequence, Sendable {
    /// What comes.
    public typealias Element = OutboxMessage

    let store: any TrainingDataStore
    /// The topic.
    public let topic: TrainingTopic
    /// Under which name it is remembered how far it has come.
    public let consumer: String
    /// The longest pause before the store is asked again.
    let longestPause: Duration

    /// Remembers that a message, and all before it, need not come again.
    public func acknowledge(_ message: OutboxMessage) async throws {
        try await store.advance(consumer, in: topic, to: message.sequence)
    }

    /// The messages after what was acknowledged.
    public func makeAsyncIterator() -> Iterator { Iterator(stream: self) }

    /// The messages, one after the other.
    public struct Iterator: AsyncIteratorProtocol {
        let stream: TrainingStream
        private var position: Int64?
        private var page: [OutboxMessage] = []
        private var place = 0
        private static let pageSize = 256

        init(stream: TrainingStream) { self.stream = stream }

        /// The next message; waits for one. `nil` once the task is cancelled.
        ///
        /// - Throws: What the store throws.
        public mutating func next() async throws -> OutboxMessage? {
            var pause = Duration.milliseconds(1)
            while true {
                if Task.isCancelled { return nil }
                if place < page.count {
                    defer { place += 1 }
                    return page[place]
                }
                let after: Int64
                if let position {
                    after = position
                } else {
                    after = try await stream.store.position(of: stream.consumer, in: stream.topic)
                }
                page = try await stream.store.messages(stream.topic, after: after, limit: Self.pageSize)
                (place, position) = (0, page.last?.sequence ?? after)
                if !page.isEmpty { continue }
                do { try await Task.sleep(for: pause) } catch { return nil }
                pause = Swift.min(pause * 2, stream.longestPause)
            }
        }
    }
}

extension TrainingDataStore {
    /// Follows a topic.
    ///
    /// - Parameters:
    ///   - consumer: Under which name it is remembered how far it has come: one for each that acknowledges on its own.
    ///   - longestPause: The longest time after which the store is asked again when there was nothing.
    public func stream(
        _ topic: TrainingTopic, consumer: String, longestPause: Duration = .milliseconds(100)
    ) -> TrainingStream {
        TrainingStream(store: self, topic: topic, consumer: consumer, longestPause: longestPause)
    }
}
