import Attune
import Benchmarking

/// `attune bench`: how fast the kernels are.
struct BenchCommand: Command {
    /// The shapes that can be timed; those of ``KernelBenchmark/usualShapes`` are, unless others are asked for.
    static let shapes = [64, 384, 768, 1536].flatMap { dimension in
        [4, 8, 16].map { KernelBenchmark.Shape(dimension: dimension, rank: $0) }
    }

    /// Variable for tests, which want to see that everything runs, not how fast.
    var effort: Effort
    /// A part of ``KernelBenchmark/names``.
    let cases: [String]
    /// A part of ``shapes``, in the order given.
    let measured: [KernelBenchmark.Shape]
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "bench",
        abstract: "Time the kernels on this machine: updates and forwards.",
        discussion: [
            "'attune bench' times kernels: how fast the arithmetic is. 'attune evaluate' and 'attune benchmark' judge learning: how "
                + "well adapters do for users, and whether a setting helps.",
            "Every case is first checked against plain arithmetic in Float64, then timed in many short chunks of calls, "
                + "in turns with the other cases of its shape (dimension/rank). The adapters stay in the cache, but "
                + "for update-stream, which goes through many in random order. 'update-sgd' and 'forward' are the "
                + "kernels alone, those with '-engine' the whole way through the engine; the difference is what users, "
                + "order and versions cost.",
            "How to read it: 'minimum' is the fastest chunk's time of one call, 'median' the usual one's. Compare "
                + "ratios within one run rather than times of different days. Keep the machine idle: where 'cpu' is "
                + "well below 100 %, something else had the core, and where minimum and median are far apart, "
                + "something disturbed; run it again. 'taskset -c 1 attune bench' keeps it on one core. GB/s counts "
                + "the least bytes that a call reads and writes, from caches too, and GFLOP/s a multiply-add as two; "
                + "both are for the minimum. Allocations are those of one call.",
            "Without --quick there are five times as many chunks, and update-stream takes up to 2.6 GB of memory "
                + "instead of 0.26.",
        ],
        arguments: [],
        options: [
            .flag("quick", help: "Take less time and memory: under a minute for everything."),
            .value(
                "cases", "LIST", .list(KernelBenchmark.names), default: KernelBenchmark.names.joined(separator: ","),
                help: "The cases to time."),
            .value(
                "shapes", "LIST", .list(shapes.map(\.text)),
                default: KernelBenchmark.usualShapes.map(\.text).joined(separator: ","),
                help: "The shapes to time them at: dimension/rank."),
            .format, .progress,
        ],
        examples: [
            .init(line: "attune bench --quick", explanation: "The whole table, for a look."),
            .init(
                line: "taskset -c 1 attune bench --cases forward,update-sgd --shapes 384/8",
                explanation: "Two cases at one shape on core 1, for figures to quote."),
            .init(line: "attune bench --quick --format json", explanation: "As one JSON object; times in nanoseconds."),
        ],
        exitCodes: [.internalError, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        effort = arguments.flag("quick") ? .quick : .full
        cases = arguments.list("cases")
        // The specification admits these shapes only.
        measured = arguments.list("shapes").compactMap { text in Self.shapes.first { $0.text == text } }
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let benchmark = KernelBenchmark(effort: effort, cases: Set(cases))
        var results: [BenchmarkResult] = []
        // The threads that OpenBLAS starts when it is loaded look for work without a pause for 2²⁶ ticks, then sleep.
        try await Task.sleep(for: .milliseconds(100))
        if showsProgress { console.beginProgress("timing shapes", total: measured.count) }
        for (done, shape) in measured.enumerated() {
            // Only between shapes: drawing would disturb what is timed.
            console.advanceProgress(to: done)
            results += try await benchmark.run(shape)
        }
        console.endProgress()
        let processor = MachineDescription.processor ?? "unknown processor"
        switch format {
        case .json: console.write(KernelBenchmark.json(results, machine: [], processor: processor) + "\n")
        case .text: console.write(Self.text(results, processor: processor))
        }
    }

    // MARK: Printing

    static func text(
        _ results: [BenchmarkResult], processor: String, isDebugBuild: Bool = KernelBenchmark.isDebugBuild
    ) -> String {
        var heading = "\(processor), \(KernelBenchmark.instructionSet) kernels, one thread; times of one call"
        if isDebugBuild {
            heading += "\nA debug build: the times are worthless. Use 'swift run -c release attune bench'."
        }
        var table = TextTable()
        table.rightAligned = Set(1...8)
        table.add(["case", "d/r", "batch", "minimum", "median", "allocations", "GB/s", "GFLOP/s", "cpu"])
        for result in results {
            table.add([
                result.name, "\(result.dimension)/\(result.rank)", "\(result.batch)", time(result.minimum),
                time(result.median), result.allocations.map { decimal($0, digits: $0 == 0 ? 0 : 2) } ?? "unknown",
                // Per nanosecond is giga per second.
                decimal(Double(result.bytes) / result.minimum, digits: 1),
                decimal(Double(result.operations) / result.minimum, digits: 1),
                "\(Int((100 * result.share).rounded())) %",
            ])
        }
        return heading + "\n\n" + table.text
    }

    /// All in nanoseconds, so that a column can be compared at a glance.
    private static func time(_ nanoseconds: Double) -> String {
        decimal(nanoseconds, digits: nanoseconds < 1000 ? 1 : 0) + " ns"
    }
}

extension KernelBenchmark.Shape {
    /// `384/8`.
    var text: String { "\(dimension)/\(rank)" }
}
