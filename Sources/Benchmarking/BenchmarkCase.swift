/// A piece of work that is timed: at one shape, by one implementation.
public struct BenchmarkCase {
    /// What is done: `forward`, `update-sgd`, ….
    public let name: String
    /// Who does it: `attune`, `fused`, `limit`, ….
    public let implementation: String
    /// The number of values of an embedding.
    public let dimension: Int
    /// The rows of each factor.
    public let rank: Int
    /// The embeddings or feedbacks of one call.
    public let batch: Int
    /// The least bytes that one call reads and writes.
    public let bytes: Int
    /// The floating-point operations of one call: a fused multiply-add is two.
    public let operations: Int
    /// Makes calls number `range`, one after another.
    public let run: (_ range: Range<Int>) async throws -> Void
    /// Checks the results against other arithmetic; throws ``WrongResult``.
    public let check: () async throws -> Void

    /// A case.
    public init(
        name: String, implementation: String = "attune", dimension: Int, rank: Int, batch: Int = 1, bytes: Int,
        operations: Int, run: @escaping (_ range: Range<Int>) async throws -> Void,
        check: @escaping () async throws -> Void
    ) {
        self.name = name
        self.implementation = implementation
        self.dimension = dimension
        self.rank = rank
        self.batch = batch
        self.bytes = bytes
        self.operations = operations
        self.run = run
        self.check = check
    }
}

/// A result that isn't what it should be; its time would mean nothing.
public struct WrongResult: Error, CustomStringConvertible {
    /// What is wrong.
    public let description: String

    /// A wrong result.
    public init(_ description: String) { self.description = description }

    /// Throws unless the values are within `tolerance` of the largest expected one.
    public static func unless(
        _ values: [Float], are expected: [Double], tolerance: Double = 2e-5, _ what: String
    ) throws {
        let largest = expected.reduce(0) { max($0, abs($1)) }
        let error = zip(values, expected).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
        guard values.count == expected.count, error <= tolerance * largest else {
            throw WrongResult(
                "\(what): \(values.count) values off by \(error), where \(expected.count) up to \(largest) are expected"
            )
        }
    }

    /// Throws unless parameters moved as expected: A, and B transposed, each by itself, to a thousandth of its largest change and
    /// what rounding adds. Steps so small that this would tell little are refused too.
    public static func unless(
        _ values: [Float], from before: [Double], moveTo expected: [Double], _ what: String
    ) throws {
        let half = before.count / 2
        guard values.count == before.count, expected.count == before.count else {
            throw WrongResult("\(what): \(values.count) values where \(before.count) are expected")
        }
        for (name, part) in [("A", 0..<half), ("B", half..<before.count)] {
            let largest = part.reduce(0) { max($0, abs(before[$1])) }
            let change = part.reduce(0) { max($0, abs(expected[$1] - before[$1])) }
            let error = part.reduce(0) { max($0, abs(expected[$1] - Double(values[$1]))) }
            let tolerance = 1e-3 * change + 3e-7 * largest
            guard change > 20 * tolerance else {
                throw WrongResult("\(what): \(name) changes by \(change) of \(largest), too little to be checked")
            }
            guard error <= tolerance else {
                throw WrongResult("\(what): \(name) is off by \(error), where it changes by up to \(change)")
            }
        }
    }
}

/// How long one call of a case takes.
public struct BenchmarkResult: Sendable {
    /// ``BenchmarkCase/name``.
    public let name: String
    /// ``BenchmarkCase/implementation``.
    public let implementation: String
    /// ``BenchmarkCase/dimension``.
    public let dimension: Int
    /// ``BenchmarkCase/rank``.
    public let rank: Int
    /// ``BenchmarkCase/batch``.
    public let batch: Int
    /// The threads that made the calls.
    public let threads: Int
    /// Nanoseconds of one call in the fastest chunk: the machine's speed with the least disturbance.
    public let minimum: Double
    /// Nanoseconds of one call in the middle chunk.
    public let median: Double
    /// Allocations of one call once it has run for a while; `nil` where they cannot be counted.
    public let allocations: Double?
    /// ``BenchmarkCase/bytes``.
    public let bytes: Int
    /// ``BenchmarkCase/operations``.
    public let operations: Int
    /// How many chunks of calls were timed.
    public let chunks: Int
    /// The calls in one of them.
    public let callsPerChunk: Int
    /// Processor time over wall time: well below 1 says that something else had the core, and the figures are worth little.
    public let share: Double
}
