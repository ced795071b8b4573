import Benchmarking
import Foundation
import Testing

@testable import AttuneCommand

/// `attune bench`: that it runs and what it prints, never how fast.
@Suite struct BenchTests {
    /// Runs the command with the least effort.
    private func bench(_ arguments: String...) async throws -> (output: String, errors: String) {
        var command = try BenchCommand(#require(try parse(arguments, for: BenchCommand.self)))
        command.effort = .check
        let (output, errors) = (RecordingSink(), RecordingSink())
        try await command.run(Console(output: output, errors: errors, now: { .zero }))
        return (output.text, errors.text)
    }

    @Test func takesEveryOptionOver() throws {
        let line = [
            "--quick", "--cases", "update-sgd,forward", "--shapes=1536/4,64/4", "--format=json", "--no-progress",
        ]
        let command = try BenchCommand(#require(try parse(line, for: BenchCommand.self)))
        #expect(command.effort.chunks == Effort.quick.chunks && command.effort.streamBytes == Effort.quick.streamBytes)
        #expect(command.cases == ["update-sgd", "forward"])
        #expect(command.measured.map(\.text) == ["1536/4", "64/4"])
        #expect(command.format == .json && !command.showsProgress)
    }

    @Test func timesEverythingAtTheUsualShapesByDefault() throws {
        let command = try BenchCommand(#require(try parse([], for: BenchCommand.self)))
        #expect(command.effort.chunks == Effort.full.chunks)
        #expect(command.cases == KernelBenchmark.names)
        #expect(command.measured == KernelBenchmark.usualShapes)
        #expect(command.format == .text && command.showsProgress)
    }

    @Test func aTinyRunPrintsOneRowWithALegend() async throws {
        let (output, errors) = try await bench("--cases", "forward", "--shapes", "64/4")
        #expect(errors.isEmpty)
        let lines = output.split(separator: "\n").map(String.init)
        #expect(lines[0].contains("\(KernelBenchmark.instructionSet) kernels"))
        #expect(lines.contains { $0.contains("debug build") } == KernelBenchmark.isDebugBuild)
        let titles = lines[lines.count - 2].split(separator: " ")
        #expect(
            titles == ["case", "d/r", "batch", "minimum", "median", "allocations", "GB/s", "GFLOP/s", "cpu"])
        let row = lines[lines.count - 1]
        #expect(row.hasPrefix("  forward ") && row.contains(" 64/4 ") && row.hasSuffix(" %"))
        // Numbers end where their titles do.
        #expect(lines[lines.count - 2].count == row.count)
        let cells = row.split(separator: " ")
        for cell in [cells[3], cells[5]] { #expect(try #require(Double(cell)) > 0) }
    }

    @Test func theJSONHoldsEveryCaseUnderItsName() async throws {
        let (output, errors) = try await bench("--shapes", "64/4", "--format", "json")
        #expect(errors.isEmpty)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
        let machine = try #require(object["machine"] as? [String: Any])
        #expect(machine["instruction_set"] as? String == KernelBenchmark.instructionSet)
        #expect(machine["build"] as? String == (KernelBenchmark.isDebugBuild ? "debug" : "release"))
        let cases = try #require(object["cases"] as? [[String: Any]])
        #expect(
            Set(cases.compactMap { $0["name"] as? String }) == [
                "forward", "update-sgd", "update-sgd-engine", "forward-engine", "update-adam", "update-ewc",
                "update-riemannian", "update-stream", "forward-mixed-64", "update-batch-32",
            ])
        #expect(cases.count == 10)
        for item in cases {
            let name = item["name"] as? String ?? ""
            #expect(item["dimension"] as? Int == 64 && item["rank"] as? Int == 4 && item["threads"] as? Int == 1)
            let batch = name == "forward-mixed-64" ? 64 : name == "update-batch-32" ? 32 : 1
            #expect(item["batch"] as? Int == batch, "\(name)")
            let minimum = try #require(item["min_ns"] as? Double)
            let median = try #require(item["median_ns"] as? Double)
            #expect(minimum > 0 && median >= minimum && median.isFinite, "\(name)")
            // Other tests in this process allocate meanwhile, so no number is right; a sanitizer leaves none.
            let allocations = try #require(item["allocations"])
            #expect(allocations is NSNull || allocations as? Double ?? -1 >= 0, "\(name)")
        }
    }

    @Test func refusesWhatItDoesNotHaveAndListsWhatItHas() async {
        let name = await attune("bench", "--cases", "forward,upadte-sgd")
        #expect(name.code == .usage && name.output.isEmpty)
        #expect(name.errors.contains("'upadte-sgd' isn't one. Did you mean 'update-sgd'?"))
        for known in KernelBenchmark.names { #expect(name.errors.contains(known)) }
        let shape = await attune("bench", "--shapes", "100/4")
        #expect(shape.code == .usage && shape.output.isEmpty)
        #expect(shape.errors.contains("'100/4' isn't one"))
        for known in BenchCommand.shapes { #expect(shape.errors.contains(known.text)) }
        #expect(await attune("bench", "--shapes", "64/4,64/4").code == .usage)
        #expect(await attune("bench", "--cases", "").code == .usage)
        #expect(await attune("bench", "64/4").code == .usage)
    }

    @Test func saysWhenTimesAreWorthless() {
        #expect(BenchCommand.text([], processor: "A chip", isDebugBuild: true).contains("times are worthless"))
        let text = BenchCommand.text([], processor: "A chip", isDebugBuild: false)
        #expect(text.hasPrefix("A chip, ") && !text.contains("worthless"))
    }
}
