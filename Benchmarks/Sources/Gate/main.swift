// The regression gate's program; `scripts/gate` runs it.
//
//   Gate run [CASE...]                              makes the calls; under callgrind
//   Gate compare THRESHOLDS PRINTED FOLDER COMPILER compares with what is stored, and fails where there is more
//   Gate update THRESHOLDS PRINTED FOLDER COMPILER  stores
import Foundation

do {
    let arguments = CommandLine.arguments.dropFirst().map { $0 }
    switch (arguments.first, arguments.count) {
    case ("run", _):
        try Measurement.run(Set(arguments.dropFirst()))
    case ("compare", 5):
        let costs = try Measurement.read(printed: arguments[2], folder: arguments[3])
        if !(try Thresholds.read(arguments[1]).passes(costs, compiler: arguments[4])) { exit(1) }
    case ("update", 5):
        let costs = try Measurement.read(printed: arguments[2], folder: arguments[3])
        try Thresholds(costs, compiler: arguments[4]).write(arguments[1])
    default:
        throw Failure("usage: Gate run [CASE...] | Gate (compare|update) THRESHOLDS PRINTED FOLDER COMPILER")
    }
} catch {
    FileHandle.standardError.write(Data("gate: \(error)\n".utf8))
    exit(2)
}
