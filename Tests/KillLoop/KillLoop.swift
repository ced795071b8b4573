#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

// Three parts of scripts/kill-loop:
//
//   KillLoop write FILE ROUND      four writers learn and forget, one settles all the time, and a bank stores, consolidates and forgets;
//                                  prints a line for each thing that was acknowledged; runs until it is killed
//   KillLoop read FILE             reads what the writers write, and looks whether it makes sense; runs until it is killed
//   KillLoop check FILE ACKS       whether everything acknowledged is there, in order, nothing but whole updates, and nothing of
//                                  what was forgotten
@main
enum KillLoop {
    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch (arguments.first ?? "", arguments.count) {
        case ("write", 3): try await Writing.run(arguments[1], round: Int(arguments[2]) ?? 0)
        case ("read", 2): try await Reading.run(arguments[1])
        case ("check", 3): try await Checking.run(arguments[1], acknowledgements: arguments[2])
        default: fail("usage: KillLoop write FILE ROUND | read FILE | check FILE ACKS")
        }
    }
}

func fail(_ message: String) -> Never {
    print("FAILED: \(message)")
    exit(1)
}
