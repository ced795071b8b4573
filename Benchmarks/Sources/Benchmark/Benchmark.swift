import Attune

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

@main
struct Benchmark {
    static func main() async {
        await run()
    }

    /// Runs every case, prints a table, and ends with 1 if a result is wrong.
    static func run() async {
        let arguments = CommandLine.arguments.dropFirst()
        guard arguments.allSatisfy({ $0 == "--quick" }) else {
            print(
                "Usage: Benchmark [--quick]\n  --quick  few and short chunks: checks the results, times are worthless.")
            exit(64)
        }
        #if DEBUG
            print("Built without optimisation: times are worthless. Use 'swift run -c release'.")
        #endif
        let effort = arguments.isEmpty ? Effort.full : .quick
        print("case                                              min ns  median ns  calls x chunks  cpu/wall")
        do {
            for (dimension, rank) in shapes {
                let cases = try AdapterCases(dimension: dimension, rank: rank)
                show(try cases.forward(effort))
                show(try cases.forwardBatch(effort))
                show(try cases.update(effort))
                for result in try await EngineCases(dimension: dimension, rank: rank).updates(effort) { show(result) }
            }
        } catch {
            print("Benchmark: \(error)")
            exit(1)
        }
    }

    /// Dimensions of embedding models in use, with a rank that suits each.
    private static let shapes = [(64, 4), (384, 8), (768, 8), (1_536, 16)]

    private static func show(_ result: Measurement) {
        print(
            padded(result.name, 46, left: true), padded(oneDecimal(result.minimum), 9),
            padded(oneDecimal(result.median), 10),
            padded("\(result.callsPerChunk) x \(result.chunks)", 15), padded(oneDecimal(result.share), 9))
    }

    private static func padded(_ text: String, _ width: Int, left: Bool = false) -> String {
        let gap = String(repeating: " ", count: max(0, width - text.count))
        return left ? text + gap : gap + text
    }

    private static func oneDecimal(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}

/// A result that isn't what it should be; its time would mean nothing.
struct WrongResult: Error, CustomStringConvertible {
    let description: String
}
