import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// The commands on a file's training data.
@Suite struct DataCommandTests {
    private let folder: JobTests.Folder

    init() throws { folder = try JobTests.Folder() }

    private var path: String { folder.path + "/data.db" }

    private func filled() async throws {
        let storage = try await SQLiteStorage(path: path)
        let data = TrainingData(try await SQLiteRecordStore(storage))
        let days = ["2026-11-01", "2026-11-02T23:59", "2026-11-03"]
        for (number, day) in days.enumerated() {
            let moment = try #require(Timestamp(utc: day))
            try await data.storeAgentEvent(
                AgentEvent(
                    "deployed", id: "event-\(number)", agent: "scout", payload: .text("of ada"),
                    severity: number == 1 ? .error : .info, subject: number == 1 ? "ada" : nil, happenedAt: moment))
            try await data.storeAgentTask(
                AgentTask("crawl", id: "task-\(number)", status: number == 0 ? .failed : .pending))
        }
        try await data.storeToolExecution(ToolExecution("search", id: "run-1", executionTime: .milliseconds(1_500)))
        try await data.storeWorkflow(AgentWorkflow(id: "flow-1", name: "build", phase: "plan"))
        await storage.close()
    }

    private func object(_ text: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    @Test func listsRowsOfAKind() async throws {
        try await filled()
        let events = await attune("data", "events", path)
        #expect(events.code == .success && events.output.contains("event-0") && events.output.contains("event-2"))
        // Until a date includes that day.
        let some = await attune(
            "data", "events", path, "--from", "2026-11-02", "--until", "2026-11-02", "--format", "json")
        #expect(try object(some.output)["event_id"] as? String == "event-1")
        let both = await attune("data", "events", path, "--where", "severity=info AND created_at>=2026-11-02")
        #expect(both.output.contains("event-2") && !both.output.contains("event-0") && !both.output.contains("event-1"))
        #expect(await attune("data", "tasks", path, "--where", "status=failed").output.contains("task-0"))
        #expect(await attune("data", "tools", path).output.contains("1500.0"))
        #expect(await attune("data", "workflows", path).output.contains("plan"))
        #expect(
            await attune("data", "tools", path, "--where", "tool_name=x").output
                == "There are no such executions of tools.\n")
        for wrong in [
            ["--where", "x=1"], ["--where", "severity"], ["--from", "yesterday"], ["--until", "2026-02-30"],
            ["--where", "severity==info"],
            ["--where", "created_at<banana"],
        ] {
            let refused = await attune(arguments: ["data", "events", path] + wrong)
            #expect(refused.code == .usage && refused.output.isEmpty, "\(wrong)")
        }
    }

    @Test func exportsAndImports() async throws {
        try await filled()
        let file = folder.path + "/events.csv"
        let result = await attune(
            "data", "export", path, "--kind", "events", "--as", "csv", "--to", file, "--format", "json")
        let facts = try object(result.output)
        #expect(result.code == .success && facts["rows"] as? Int == 3, "\(result)")
        #expect((facts["sha256"] as? String)?.count == 64)
        #expect(FileManager.default.fileExists(atPath: file + ".manifest.json"))
        let other = folder.path + "/other.db"
        #expect(
            await attune("data", "import", other, file, "--kind", "events", "--as", "csv").output
                == "Read 3 rows from \(file).\n")
        #expect(await attune("data", "events", other).output == attune("data", "events", path).output)
        try Data("event_id:text\nx,y\n".utf8).write(to: URL(filePath: file))
        let refused = await attune("data", "import", other, file, "--kind", "events", "--as", "csv")
        #expect(refused.code == .badData && refused.errors.contains("line 2"), "\(refused)")
        // Nothing is made where there is nothing to read.
        let none = folder.path + "/none.db"
        #expect(await attune("data", "import", none, folder.path + "/missing.jsonl").code == .noInput)
        #expect(await attune("data", "import", none, file, "--kind", "events", "--as", "csv").code == .badData)
        #expect(!FileManager.default.fileExists(atPath: none))
        #expect(await attune("data", "export", path, "--to", path).code == .cannotCreate)
        for wrong in [["--as", "chat", "--kind", "tasks"], ["--spreadsheet-safe"]] {
            #expect(await attune(arguments: ["data", "export", path] + wrong).code == .usage, "\(wrong)")
        }
    }

    @Test func retainsAndErases() async throws {
        try await filled()
        #expect(await attune("data", "retain", path).code == .usage)
        let archive = folder.path + "/old.jsonl"
        let megabytes = ["data", "retain", path, "--megabytes", "0"]
        let planned = await attune(arguments: megabytes + ["--dry-run"])
        #expect(planned.output.hasPrefix("Would delete 4 records and 0 workflows with 24 bytes"), "\(planned)")
        let erased = try object(await attune("data", "erase", path, "--user", "ada", "--format", "json").output)
        #expect(erased["removed_contents"] as? Int == 1 && erased["removed_messages"] as? Int == 1)
        #expect(
            !(await attune("data", "events", path, "--format", "json").output.contains("ada\",\"severity\":\"error")))
        let done = await attune(arguments: megabytes + ["--archive", archive])
        #expect(done.code == .success, "\(done)")
        let lines = try String(contentsOfFile: archive, encoding: .utf8).split(separator: "\n")
        #expect(lines.count > 0)
        for line in lines { #expect(try object(String(line))["id"] != nil) }
        #expect(await attune(arguments: megabytes + ["--archive", archive]).code == .cannotCreate)
        let missing = await attune("data", "erase", path, "--user", "bob", "--files", folder.path + "/none")
        #expect(missing.code == .noInput && missing.output.isEmpty)
        #expect(await attune("data", "tasks", path).output.contains("task-1"))
    }
}
