import Attune
import Benchmarking
import CReference
import Foundation

/// What this program does: see ``usage``.
@main
struct Benchmark {
    // Only an await here: what stands in `main` itself runs on the main actor.
    static func main() async { await run(Array(CommandLine.arguments.dropFirst())) }

    static let usage = """
        Usage: Benchmark kernels [--quick | --check] [--cases a,b] [--shapes 384/8,64/4] [--format text|json]
               Benchmark scale [--quick] [--format text|json]
               Benchmark journal [--quick] [--cases a,b] [--folder DIR] [--format text|json]
               Benchmark store [--quick] [--adapters N] [--shapes 64/4] [--folder DIR] [--format text|json]
               Benchmark merge [--quick] [--adapters N] [--shapes 384/8] [--format text|json]
               Benchmark retrieval [--quick] [--folder DIR] [--format text|json]
               Benchmark bank [--quick] [--folder DIR] [--format text|json]
               Benchmark records [--quick] [--folder DIR] [--format text|json]
               Benchmark data [--quick] [--folder DIR] [--format text|json]
               Benchmark start [--format text|json]
               Benchmark intervals [--quick] [--format text|json]

          kernels  Attune's cases, the fused reference's and the limit's, in turns; set-up is outside the timer, results are
                   checked.
                   --quick takes under a minute; --check only sees that all results are right, its times are worthless.
          scale    engines with 10^2 to 10^6 users: time, memory, threads, and ten times more users than fit. Each in a
                   process of its own; takes minutes, and 5 GB for the largest. --quick ends at 10^4 users.
          journal  updates into a storage file, by durability and number of writers; SQLite alone with the same rows; recovery
                   of a million entries. The file lies in --folder (the folder for temporary files): name one on the disk
                   in question.
          store    a million adapters in one file: to make it, to open it, and reads of random users when the system has nothing
                   of the file in memory and when it has; 5 GB in --folder. --quick takes 20,000.
          merge    a prior of 1,000, 10,000 and 100,000 adapters, none of which is held: time, and the peak of memory. Each
                   number in a process of its own. --quick merges 1,000.
          retrieval  similar episodes among 10^3 to 10^6, by graphs and by reading all; updates that ask a bank of 10^5, in
                   memory and in a file in --folder. Takes many minutes, and 2 GB. --quick ends at 32,000.
          bank     a million episodes in a file: to store them, to open it, to consolidate it, and to go on after kill -9; time
                   and memory. Takes minutes, and 2 GB in --folder. --quick takes 20,000.
          records  what recording costs a model call, switched off and on; 100,000 records of eight tasks into a file in
                   --folder. --quick stores 20,000.
          data     100,000 events, tasks, tools and workflows, told by eight tasks, and told again; an export of a million
                   rows, with the most memory that it took. --quick takes 8,000 and 20,000.
          start    from the start of a process to its first personalized embedding.
          intervals  no time: how often the 95 % intervals of evaluations hold the truth, in 2,000 made-up ones of 300 users. Takes
                   minutes. --quick makes up 200.

        """

    static func run(_ arguments: [String]) async {
        #if DEBUG
            FileHandle.standardError.write(Data("Built without optimisation: times are worthless.\n".utf8))
        #endif
        do {
            switch arguments.first {
            case "kernels": try await kernels(Options(arguments.dropFirst()))
            case "scale": try scale(Options(arguments.dropFirst()))
            case "scale-one": try await scaleOne(arguments.dropFirst().map { Int($0) ?? 0 })
            case "journal": try await journal(Options(arguments.dropFirst()))
            case "store": try await store(Options(arguments.dropFirst()))
            case "merge": try merge(Options(arguments.dropFirst()))
            case "merge-one": try mergeOne(arguments.dropFirst().map { Int($0) ?? 0 })
            case "retrieval": try await retrieval(Options(arguments.dropFirst()))
            case "retrieval-one": try retrievalOne(arguments.dropFirst().map { Int($0) ?? 0 })
            case "retrieval-update": try await retrievalUpdate(Array(arguments.dropFirst()))
            case "bank": try bank(Options(arguments.dropFirst()))
            case "bank-store": try await bankStore(Array(arguments.dropFirst()))
            case "bank-run": try await bankRun(Array(arguments.dropFirst()))
            case "records": try await records(Options(arguments.dropFirst()))
            case "data": try await trainingData(Options(arguments.dropFirst()))
            case "start": try start(Options(arguments.dropFirst()))
            case "intervals": try await intervals(Options(arguments.dropFirst()))
            case "--help", "-h": print(usage, terminator: "")
            case "first-embedding": try await firstEmbedding()
            default:
                throw UsageError(
                    "a subcommand is needed: kernels, scale, journal, store, merge, retrieval, bank, records, start or intervals"
                )
            }
        } catch let error as UsageError {
            FileHandle.standardError.write(Data("Benchmark: \(error.description)\n\n\(usage)".utf8))
            exit(64)
        } catch {
            FileHandle.standardError.write(Data("Benchmark: \(error)\n".utf8))
            exit(1)
        }
    }

    // MARK: - Kernels

    private static func kernels(_ options: Options) async throws {
        var results: [BenchmarkResult] = []
        let benchmark = KernelBenchmark(effort: options.effort, cases: try options.cases(among: KernelBenchmark.names))
        if !options.isJSON { print(KernelTable.heading) }
        for shape in options.shapes ?? KernelBenchmark.usualShapes {
            let found = try await benchmark.run(shape) { ReferenceCases.all(shape, streamBytes: $0) }
            if !options.isJSON { for result in found { print(KernelTable.line(result, among: found)) } }
            results += found
        }
        guard options.isJSON else { return }
        let streams = reference_memory_streams(options.isCheck ? 1 : 5)
        print(
            KernelBenchmark.json(
                results,
                machine: [
                    ("triad_gigabytes_per_second", streams.triad), ("read_gigabytes_per_second", streams.read),
                    ("in_place_gigabytes_per_second", streams.update),
                    ("peak_gigaflop_per_second", reference_peak_gigaflops()),
                ], processor: processorName))
    }

    /// The processor's name, where Linux gives it.
    static var processorName: String {
        guard let data = FileManager.default.contents(atPath: "/proc/cpuinfo") else { return "unknown" }
        let text = String(decoding: data, as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.hasPrefix("model name") }
        return line?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
    }

    // MARK: - Start

    /// Starts a process that personalizes one embedding, many times over.
    private static func start(_ options: Options) throws {
        var times: [Double] = []
        for _ in 0..<21 {
            let clock = ContinuousClock()
            let began = clock.now
            _ = try child(["first-embedding"])
            times.append((clock.now - began) / .milliseconds(1))
        }
        times.sort()
        if options.isJSON {
            return print("{\"start\":{\"min_ms\":\(times[0]),\"median_ms\":\(times[times.count / 2])}}")
        }
        print(
            "start to first personalized embedding, and exit: minimum \(rounded(times[0])) ms, "
                + "median \(rounded(times[times.count / 2])) ms of \(times.count)")
    }

    private static func firstEmbedding() async throws {
        let engine = try PersonalizationEngine(configuration: EngineConfiguration(dimension: 384))
        let embedding = (0..<384).map { Float($0 % 7) / 70 }
        try await engine.updateAdapter(
            for: "ada", with: [Feedback(embedding: embedding, signal: .target(embedding.map { $0 + 0.01 }))])
        let result = try await engine.personalize(embedding, for: "ada")
        guard result.isPersonalized else { throw WrongResult("not personalized") }
        print(result.embedding[0])
    }

    /// Runs this program; what it printed.
    static func child(_ arguments: [String]) throws -> Data {
        let process = Process()
        guard let path = Bundle.main.executablePath else { throw WrongResult("this program's path is unknown") }
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw WrongResult("\(arguments.joined(separator: " ")) ended with \(process.terminationStatus)")
        }
        return data
    }

    static func rounded(_ value: Double) -> String {
        let scale = value < 10 ? 100.0 : value < 100 ? 10 : 1
        let number = (value * scale).rounded() / scale
        return scale == 1 ? "\(Int(number))" : "\(number)"
    }
}

/// A line of arguments that cannot be.
struct UsageError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The options of a subcommand.
struct Options {
    var isQuick = false
    var isCheck = false
    var isJSON = false
    var cases: Set<String>?
    var adapters: Int?
    var shapes: [KernelBenchmark.Shape]?
    var folder = FileManager.default.temporaryDirectory

    var effort: Effort { isCheck ? .check : isQuick ? .quick : .full }

    /// The chosen cases among those that there are; all of them where none were chosen.
    func cases(among names: [String]) throws -> Set<String> {
        guard let cases else { return Set(names) }
        guard !cases.isEmpty, cases.isSubset(of: names) else {
            throw UsageError("--cases are among \(names.joined(separator: ", "))")
        }
        return cases
    }

    init(_ arguments: ArraySlice<String>) throws {
        var rest = arguments
        while let argument = rest.popFirst() {
            switch argument {
            case "--quick": isQuick = true
            case "--check": isCheck = true
            case "--format":
                guard let format = rest.popFirst(), ["text", "json"].contains(format) else {
                    throw UsageError("--format is text or json")
                }
                isJSON = format == "json"
            case "--folder":
                guard let path = rest.popFirst(), !path.isEmpty else { throw UsageError("--folder needs a folder") }
                folder = URL(fileURLWithPath: path, isDirectory: true)
            case "--adapters":
                guard let count = rest.popFirst().flatMap({ Int($0) }), (100...100_000_000).contains(count) else {
                    throw UsageError("--adapters is a number from 100 to 100,000,000")
                }
                adapters = count
            case "--cases":
                cases = Set((rest.popFirst() ?? "").split(separator: ",").map(String.init))
            case "--shapes":
                shapes = try (rest.popFirst() ?? "").split(separator: ",", omittingEmptySubsequences: false).map {
                    text in
                    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
                    guard parts.count == 2, parts[1] > 0, parts[1] <= min(256, parts[0]), parts[0] <= 65_536 else {
                        throw UsageError("--shapes are dimension/rank, with commas between them; this is \(text)")
                    }
                    return KernelBenchmark.Shape(dimension: parts[0], rank: parts[1])
                }
            default: throw UsageError("there is no option \(argument)")
            }
        }
    }
}

/// The table that people read.
enum KernelTable {
    static let heading = line(
        "case", "by", "d/r", "batch", "min ns", "median ns", "allocations", "GB/s", "GFLOP/s", "/ fused", "/ limit",
        "cpu/wall")

    /// A result, compared with the fused reference's and the limit's where those are among the others.
    static func line(_ result: BenchmarkResult, among others: [BenchmarkResult]) -> String {
        func ratio(to implementation: String) -> String {
            let other = others.first { $0.name == result.name && $0.implementation == implementation }
            guard let other, result.implementation == "attune" else { return "" }
            return Benchmark.rounded(result.minimum / other.minimum)
        }
        return line(
            result.name, result.implementation, "\(result.dimension)/\(result.rank)", "\(result.batch)",
            Benchmark.rounded(result.minimum), Benchmark.rounded(result.median),
            result.allocations.map { Benchmark.rounded($0) } ?? "?",
            Benchmark.rounded(Double(result.bytes) / result.minimum),
            Benchmark.rounded(Double(result.operations) / result.minimum), ratio(to: "fused"),
            ratio(to: "limit"), Benchmark.rounded(result.share))
    }

    private static func line(_ cells: String...) -> String {
        let widths = [18, 8, 8, 6, 9, 10, 12, 6, 8, 8, 8, 9]
        return zip(cells, widths).enumerated().map { i, cell in
            let gap = String(repeating: " ", count: max(0, cell.1 - cell.0.count))
            return i < 2 ? cell.0 + gap : gap + cell.0
        }.joined(separator: " ")
    }
}
