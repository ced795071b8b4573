internal import Evaluation
internal import TensorCore

/// The table of `attune bench`: every case at every shape.
public struct KernelBenchmark: Sendable {
    /// A dimension with a rank.
    public struct Shape: Sendable, Hashable {
        /// Values of an embedding.
        public let dimension: Int
        /// Rows of each factor.
        public let rank: Int

        /// A shape.
        public init(dimension: Int, rank: Int) {
            self.dimension = dimension
            self.rank = rank
        }
    }

    /// Dimensions of embedding models in use, with a rank that suits each.
    public static let usualShapes = [
        Shape(dimension: 64, rank: 4), Shape(dimension: 384, rank: 8), Shape(dimension: 768, rank: 8),
        Shape(dimension: 1536, rank: 16),
    ]

    /// The names of the cases, in the order in which they are timed.
    public static let names = [
        "forward", "update-sgd", "forward-engine", "update-sgd-engine", "update-adam", "update-ewc",
        "update-riemannian", "update-batch-32", "forward-mixed-64", "update-stream",
    ]

    /// How much effort goes into each case.
    public let effort: Effort
    /// The cases wanted; all of ``names`` by default.
    public let wanted: Set<String>

    /// A benchmark.
    public init(effort: Effort, cases: Set<String> = Set(names)) {
        self.effort = effort
        wanted = cases
    }

    /// Times all cases at one shape, in turns.
    ///
    /// - Parameter others: Cases of other implementations at that shape, which take their turns with ours; given the bytes that
    ///   those over many adapters may take, or 0 where none are wanted.
    /// - Throws: ``WrongResult``; what an engine throws.
    public func run(
        _ shape: Shape, with others: (Int) throws -> [BenchmarkCase] = { _ in [] }
    ) async throws -> [BenchmarkResult] {
        let work = try Workload(dimension: shape.dimension, rank: shape.rank)
        var cases = KernelCases(work).cases
        cases += try await EngineCases(work).cases
        cases += try AdapterCases(work).cases()
        if wanted.contains("update-stream") {
            cases.append(try StreamCase(work, bytes: effort.streamBytes).benchmark)
        }
        cases += try others(wanted.contains("update-stream") ? effort.streamBytes : 0)
        let results = try await effort.measure(cases.filter { wanted.contains($0.name) })
        // A case beside its peers.
        return Self.names.flatMap { name in results.filter { $0.name == name } }
    }

    /// The instruction set that the kernels run with.
    public static var instructionSet: String { Kernels.instructionSet.rawValue }

    /// Whether the kernels were built for debugging, which makes their times worthless.
    public static var isDebugBuild: Bool {
        #if DEBUG
            true
        #else
            false
        #endif
    }

    /// Results as JSON:
    /// `{"cases":[{"name":…,"dimension":…,"rank":…,"batch":…,"threads":…,"median_ns":…,"min_ns":…,"allocations":…}]}`.
    ///
    /// `machine` stands before them; `allocations` is `null` where they can't be counted.
    ///
    /// - Parameter machine: Facts of the machine, printed before.
    public static func json(
        _ results: [BenchmarkResult], machine: [(name: String, number: Double)], processor: String
    ) -> String {
        let cases = results.map { result in
            JSONText.object([
                ("name", .string(result.name)), ("implementation", .string(result.implementation)),
                ("dimension", .integer(result.dimension)), ("rank", .integer(result.rank)),
                ("batch", .integer(result.batch)), ("threads", .integer(result.threads)),
                ("median_ns", .number(result.median)), ("min_ns", .number(result.minimum)),
                ("allocations", result.allocations.map { .number($0) } ?? .null), ("bytes", .integer(result.bytes)),
                ("flop", .integer(result.operations)), ("chunks", .integer(result.chunks)),
                ("calls_per_chunk", .integer(result.callsPerChunk)), ("cpu_share", .number(result.share)),
            ])
        }
        let facts =
            [
                ("processor", JSONText.string(processor)), ("instruction_set", .string(instructionSet)),
                ("build", .string(isDebugBuild ? "debug" : "release")),
            ]
            + machine.map { ($0.name, .number($0.number)) }
        return JSONText.object([("machine", .object(facts)), ("cases", .array(cases))]).text
    }
}
