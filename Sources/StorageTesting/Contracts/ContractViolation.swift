internal import TensorCore

/// A promise that a store or bank broke.
public struct ContractViolation: Sendable, Hashable, CustomStringConvertible {
    /// The promise, in words.
    public var promise: String
    /// What should have been seen.
    public var expected: String
    /// What was seen.
    public var seen: String

    /// A violation.
    public init(promise: String, expected: String, seen: String) {
        self.promise = promise
        self.expected = expected
        self.seen = seen
    }

    /// All three, in a sentence.
    public var description: String { "\(promise): expected \(expected), saw \(seen)" }
}

/// Collects violations, from many tasks.
final class ContractJournal: Sendable {
    private let found = Lock<[ContractViolation]>([])

    var violations: [ContractViolation] { found.withLock { $0 } }

    func expect(_ promise: String, _ holds: Bool, _ expected: @autoclosure () -> String, saw: @autoclosure () -> String)
    {
        guard !holds else { return }
        let violation = ContractViolation(promise: promise, expected: expected(), seen: saw())
        found.withLock { $0.append(violation) }
    }

    func expect<V: Equatable>(_ promise: String, _ value: V, is expected: V) {
        expect(promise, value == expected, "\(expected)", saw: "\(value)")
    }

    /// Runs a check; what it throws is a violation too, but for a cancellation.
    func check(_ promise: String, _ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as CancellationError {
            throw error
        } catch {
            expect(promise, false, "no error", saw: "\(error)")
        }
    }

    /// Runs what should throw; returns the error.
    func failure<R>(_ promise: String, of what: String, _ body: () async throws -> R) async throws -> (any Error)? {
        do {
            _ = try await body()
        } catch let error as CancellationError {
            throw error
        } catch {
            return error
        }
        expect(promise, false, "an error for \(what)", saw: "none")
        return nil
    }
}
