import Benchmarking
@main
struct Benchmark {
    static func main() async { await run() }
    static func run() async {
        do {
            let arguments = CommandLine.arguments.dropFirst()
            let names = Set(arguments.filter { !$0.hasPrefix("-") && !$0.contains("/") })
            let shapes = arguments.filter { $0.contains("/") }.map { text in
                let parts = text.split(separator: "/").map { Int($0)! }
                return KernelBenchmark.Shape(dimension: parts[0], rank: parts[1])
            }
            for shape in shapes.isEmpty ? KernelBenchmark.usualShapes : shapes {
                for r in try await KernelBenchmark(
                    effort: arguments.contains("--full") ? .full : .quick, cases: names.isEmpty ? Set(KernelBenchmark.names) : names).run(shape, with: { ReferenceCases(shape).cases(streamBytes: $0) }) {
                    print(r.name, r.implementation, r.dimension, r.rank, r.minimum, r.median, r.allocations ?? -1, r.share)
                }
            }
        } catch { print(error) }
    }
}
