import Benchmarking
import Foundation

/// What one call of a hot case takes.
struct Cost: Codable, Equatable {
    var instructions: Int
    var allocations: Double
}

/// Costs by case, and what they were measured with.
struct Costs {
    var instructionSet: String
    var cases: [(name: String, cost: Cost)]
}

/// Callgrind writes what was executed since the last time before each call of this function (`--dump-before=gate_mark`).
@c(gate_mark)
@inline(never)
@_optimize(none)
public func gateMark() {}

enum Measurement {
    /// Runs every case under callgrind, and prints what only the program itself knows; ``read(printed:folder:)`` takes both in.
    ///
    /// A case's calls are made n times and 2n times: what the difference holds is the calls' alone.
    static func run(_ names: Set<String>) throws {
        print("instructions\t\(KernelBenchmark.instructionSet)")
        for item in try HotCase.all() where names.isEmpty || names.contains(item.name) {
            // Memory that is kept for the next call is made here.
            try item.run(item.calls)
            gateMark()
            try item.run(item.calls)
            gateMark()
            try item.run(2 * item.calls)
            gateMark()
            let once = try countAllocations { try item.run(item.calls) }
            let twice = try countAllocations { try item.run(2 * item.calls) }
            guard let once, let twice else { throw Failure("allocations can't be counted here") }
            print("\(item.name)\t\(item.calls)\t\(twice - once)")
        }
    }

    /// The costs from a run's output and from the files that callgrind left in a folder for the first thread: `callgrind.out.1-01`,
    /// `callgrind.out.2-01`, ….
    static func read(printed: String, folder: String) throws -> Costs {
        let lines = try text(printed).split(separator: "\n").map { $0.split(separator: "\t").map(String.init) }
        guard let first = lines.first, first.count == 2, first[0] == "instructions", lines.count > 1 else {
            throw Failure("\(printed) isn't a run's output")
        }
        var cases: [(name: String, cost: Cost)] = []
        for (k, line) in lines.dropFirst().enumerated() {
            guard line.count == 3, let calls = Int(line[1]), let allocations = Int(line[2]) else {
                throw Failure("\(printed): \(line.joined(separator: " "))")
            }
            // Three files a case: what went before, n calls, 2n calls.
            let once = try total("\(folder)/callgrind.out.\(3 * k + 2)-01")
            let twice = try total("\(folder)/callgrind.out.\(3 * k + 3)-01")
            let cost = Cost(
                instructions: Int((Double(twice - once) / Double(calls)).rounded()),
                allocations: Double(allocations) / Double(calls))
            cases.append((line[0], cost))
        }
        return Costs(instructionSet: first[1], cases: cases)
    }

    /// Instructions in one of callgrind's files.
    private static func total(_ path: String) throws -> Int {
        for line in try text(path).split(separator: "\n")
        where line.hasPrefix("summary: ") || line.hasPrefix("totals: ") {
            if let number = Int(line.drop { $0 != " " }.dropFirst()) { return number }
        }
        throw Failure("\(path) has no total; was it written by callgrind?")
    }

    static func text(_ path: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else { throw Failure("can't read \(path)") }
        return String(decoding: data, as: UTF8.self)
    }
}

struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
