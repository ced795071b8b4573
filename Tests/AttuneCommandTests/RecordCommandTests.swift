import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// The commands on a file's records.
@Suite struct RecordCommandTests {
    private let folder: JobTests.Folder

    init() throws { folder = try JobTests.Folder() }

    private var path: String { folder.path + "/calls.db" }

    /// Three calls, one of which failed, and a recording that is active still.
    private func recorded() async throws -> (session: String, active: String) {
        let storage = try await SQLiteStorage(path: path)
        let recorder = try ModelCallRecorder(store: try await SQLiteRecordStore(storage))
        let session = try await recorder.enable(.everything).id
        for number in 0..<3 {
            let call = ModelCall("TEXT_LARGE", provider: "acme", context: SpanContext(agent: "shop"))
            do {
                _ = try await recorder.record(call, input: .text("call \(number)")) {
                    if number == 1 { throw CancellationError() }
                    return "answer \(number)"
                }
            } catch is CancellationError {}
        }
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        let active = try await recorder.enable(.agent("shop")).id
        #expect(await recorder.flush(within: .seconds(600)))
        await storage.close()
        return (session, active)
    }

    private func object(_ text: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    @Test func listsAndShowsWhatWasRecorded() async throws {
        let (session, active) = try await recorded()
        let status = await attune("record", "status", path)
        #expect(status.code == .success && status.output.contains(active) && !status.output.contains(session))
        #expect(
            status.output.contains("2 recordings, of which 1 completed, 0 interrupted; 3 records."), "\(status.output)")
        let facts = try object(await attune("record", "status", path, "--format", "json").output)
        #expect(facts["active"] as? Int == 1 && facts["records"] as? Int == 3)
        let sessions = try object(await attune("record", "sessions", path, "--format", "json").output)
        let all = try #require(sessions["recordings"] as? [[String: Any]])
        #expect(all.compactMap { $0["session_id"] as? String } == [active, session])
        #expect(
            all[1]["records"] as? Int == 3 && all[1]["failed"] as? Int == 1
                && all[1]["status"] as? String == "completed")
        #expect(await attune("record", "sessions", path).output.contains("everything"))
        let shown = await attune("record", "show", session, path)
        #expect(shown.code == .success && shown.output.contains("TEXT_LARGE") && shown.output.contains("cancelled"))
        let records = try object(await attune("record", "show", session, path, "--format", "json").output)
        let first = try #require((records["records"] as? [[String: Any]])?.first)
        let id = try #require(first["id"] as? String)
        let one = try object(await attune("record", "show", id, path).output)
        #expect(one["input_params"] as? String == "call 0" && one["output"] as? String == "answer 0")
    }

    @Test func exportsLinesOfJSON() async throws {
        let (session, _) = try await recorded()
        let file = folder.path + "/calls.jsonl"
        let result = await attune("record", "export", path, file, "--session", session)
        #expect(result.code == .success && result.output == "Wrote 3 records to \(file).\n", "\(result)")
        let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n")
        let objects = try lines.map { try object(String($0)) }
        #expect(objects.compactMap { $0["input_params"] as? String } == ["call 0", "call 1", "call 2"])
        // Nothing is written over.
        #expect(await attune("record", "export", path, file).code == .cannotCreate)
        let all = await attune("record", "export", path, folder.path + "/all.jsonl", "--format", "json")
        // Three switches are records too.
        #expect(try object(all.output)["records"] as? Int == 6)
    }

    @Test func saysWhatIsNotThere() async throws {
        _ = try await recorded()
        #expect(await attune("record", "show", "session_1_00000000", path).code == .badData)
        #expect(await attune("record", "show", "0193a7e0-0000-7000-8000-000000000000", path).code == .badData)
        #expect(await attune("record", "export", path, folder.path + "/x", "--session", "y").code == .badData)
        #expect(await attune("record", "status", folder.path + "/no.db").code == .noInput)
        let empty = folder.path + "/empty.db"
        try await SQLiteStorage(path: empty).close()
        let status = await attune("record", "status", empty)
        #expect(status.code == .success && status.output.hasPrefix("Nothing is being recorded."))
        #expect(await attune("record", "sessions", empty).output == "Nothing was recorded.\n")
        #expect(
            await attune("record", "export", empty, folder.path + "/none.jsonl").output.hasPrefix("Wrote 0 records"))
    }

    @Test func whoIsForgottenIsInNoRecord() async throws {
        let storage = try await SQLiteStorage(path: path)
        let recorder = try ModelCallRecorder(store: try await SQLiteRecordStore(storage))
        try await recorder.enable(.everything)
        for user in ["ada", "bob"] {
            let call = ModelCall("A", context: SpanContext(entity: user))
            _ = await recorder.record(call, input: .text("the words of \(user)")) { "to \(user)" }
        }
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        await storage.close()
        let result = await attune("forget", path, "--user", "ada", "--format", "json")
        #expect(result.code == .success && !result.errors.contains("nothing was known"), "\(result)")
        #expect(try object(result.output)["removed_contents"] as? Int == 2)
        let bytes = try Data(contentsOf: URL(filePath: path))
        #expect(bytes.range(of: Data("the words of ada".utf8)) == nil)
        #expect(bytes.range(of: Data("the words of bob".utf8)) != nil)
        // A file without records gets none.
        let other = folder.path + "/none.db"
        await (try SQLiteStorage(path: other)).close()
        #expect(
            try object(await attune("forget", other, "--user", "ada", "--format", "json").output)["removed_contents"]
                as? Int == 0)
        let empty = try await SQLiteStorage(path: other)
        #expect(try await !empty.hasRecords())
        await empty.close()
    }
}
