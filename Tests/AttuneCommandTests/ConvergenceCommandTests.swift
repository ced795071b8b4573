import Attune
import Foundation
import TensorCore
import TestSupport
import Testing

@testable import AttuneCommand

/// `attune benchmark convergence`, from the command line to its files.
@Suite struct ConvergenceCommandTests {
    private static let grid = """
        {"variants": [{"name": "slow and fast", "method": "engine", "settings": {"bank": [false], "rate": [0.05, 0.25]}}]}
        """

    private func names(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path).sorted()
    }

    @Test func writesAFolderThatCanBeCompared() async throws {
        let folder = try JobTests.Folder()
        try folder.write("grid.json", Self.grid)
        let output = folder.path + "/out"
        let arguments = [
            "benchmark", "convergence", folder.path, "--grid", folder.path + "/grid.json", "--seeds", "1", "--report",
            output,
        ]
        let run = await attune(arguments: arguments)
        #expect(run.code == .success, "\(run.errors)")
        #expect(run.output.contains("slow and fast") && run.output.contains("Chosen on the donors:"))
        #expect(
            try names(output) == [
                "candidates.csv", "curves.csv", "measures.csv", "pieces", "report.html", "result.json", "times.csv",
                "users.csv",
            ])
        let record = try BenchmarkRecord(path: output + "/result.json")
        #expect(record.runs.map(\.name) == ["none", "cold", "slow and fast"])
        #expect(record.command.hasPrefix("attune benchmark convergence ") && record.command.contains("--grid"))
        let compared = await attune(
            "benchmark", "compare", output + "/result.json", output + "/result.json", "--methods", "cold=slow and fast")
        #expect(compared.output.contains("cold = slow and fast"), "\(compared.errors)")
        // The same again, with another number of tasks: the same text, from the pieces.
        let again = await attune(arguments: arguments + ["--jobs", "1"])
        #expect(again.output == run.output && again.errors.isEmpty)
        let json = await attune(arguments: arguments + ["--format", "json"])
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any], "\(json.errors)")
        #expect((object["variants"] as? [Any])?.count == 3)
    }

    @Test func givesWhatEvaluateGives() async throws {
        let folder = try JobTests.Folder()
        let output = folder.path + "/out"
        let options = ["--seeds", "2", "--methods", "none,ridge,cold,similar"]
        let plain = await attune(
            arguments: ["evaluate", folder.path, "--record", folder.path + "/plain.json"] + options)
        let run = await attune(arguments: ["benchmark", "convergence", folder.path, "--report", output] + options)
        #expect(run.output.hasPrefix(plain.output.dropLast()), "\(run.errors)")
        let (a, b) = (
            try BenchmarkRecord(path: folder.path + "/plain.json"), try BenchmarkRecord(path: output + "/result.json")
        )
        #expect(a.runs == b.runs && a.users == b.users && a.events == b.events && a.dataHash == b.dataHash)
    }

    @Test func refusesWhatItCannotDo() async throws {
        let folder = try JobTests.Folder()
        try folder.write("grid.json", Self.grid.replacingOccurrences(of: "0.05", with: "-1"))
        let bad = await attune("benchmark", "convergence", folder.path, "--grid", folder.path + "/grid.json")
        #expect(bad.code == .badData)
        #expect(
            bad.errors.contains(
                "grid.json: variant 'slow and fast', setting 'rate': the value -1 is no number above 0"),
            "\(bad.errors)")
        let missing = await attune("benchmark", "convergence", folder.path, "--grid", folder.path + "/no.json")
        #expect(missing.code == .noInput)
        let full = await attune("benchmark", "convergence", folder.path, "--methods", "none", "--report", folder.path)
        #expect(full.code == .cannotCreate && full.errors.contains("holds other things"))
        let output = folder.path + "/out"
        let held = try ConvergenceFolder(path: output)
        let second = await attune("benchmark", "convergence", folder.path, "--methods", "none", "--report", output)
        #expect(second.code == .cannotCreate && second.errors.contains("another run"), "\(second.errors) \(held.path)")
        #expect(await attune("benchmark", "convergence", folder.path, "--jobs", "0").code == .usage)
        #expect(await attune("benchmark", "convergence").code == .usage)
    }

    /// The program that was built beside the tests.
    private static let program: String? = {
        do {
            let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
            let program = URL(filePath: own).deletingLastPathComponent().appending(path: "attune").path
            return FileManager.default.isExecutableFile(atPath: program) ? program : nil
        } catch {
            return nil
        }
    }()

    /// Killed again and again, a run ends with the bytes of one that nobody disturbed.
    @Test(.enabled(if: !TestRun.isSanitized && program != nil, "needs the program itself, at its speed"))
    func aKilledRunGoesOn() async throws {
        let program = try #require(Self.program)
        let folder = try JobTests.Folder()
        try folder.write("grid.json", Self.grid)
        let (plain, killed) = (folder.path + "/plain", folder.path + "/killed")
        func start(_ output: String) throws -> Process {
            let process = Process()
            process.executableURL = URL(filePath: program)
            process.arguments = [
                "benchmark", "convergence", folder.path, "--grid", folder.path + "/grid.json", "--methods",
                "none,cold,warm",
                "--seeds", "2", "--report", output,
            ]
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            return process
        }
        let whole = try start(plain)
        whole.waitUntilExit()
        #expect(whole.terminationStatus == 0)
        var random = PhiloxGenerator(seed: 4, purpose: .simulation)
        var kills = 0
        var pieces = 0
        for _ in 0..<12 {
            let process = try start(killed)
            try await Task.sleep(for: .milliseconds(random.integer(in: 60..<400)))
            if process.isRunning {
                kill(process.processIdentifier, SIGKILL)
                kills += 1
            }
            process.waitUntilExit()
            if FileManager.default.fileExists(atPath: killed + "/pieces") {
                let count = try names(killed + "/pieces").count { $0.hasSuffix(".piece") }
                #expect(count >= pieces)
                pieces = count
            }
        }
        #expect(kills > 0)
        let last = try start(killed)
        last.waitUntilExit()
        #expect(last.terminationStatus == 0)
        // One section of the report says how long it took.
        let machine = /<section id="machine">(?s:.*?)<\/section>/
        for name in ["result.json", "measures.csv", "curves.csv", "candidates.csv", "users.csv", "report.html"] {
            let (a, b) = (URL(filePath: "\(plain)/\(name)"), URL(filePath: "\(killed)/\(name)"))
            var expected = try String(contentsOf: a, encoding: .utf8)
            var found = try String(contentsOf: b, encoding: .utf8)
            if name == "report.html" {
                #expect(expected.contains(machine) && found.contains(machine))
                (expected, found) = (expected.replacing(machine, with: ""), found.replacing(machine, with: ""))
            }
            // The command line names the folder of the data only.
            expected.replace(plain, with: killed)
            #expect(found == expected, "\(name)")
        }
        #expect(try names(killed) == names(plain) && names(killed + "/pieces") == names(plain + "/pieces"))
    }
}
