import Foundation
import Testing

@testable import LearningRecords
@testable import Reasoning

@Suite struct RecordFilesTests {
    private final class Folder {
        let path = FileManager.default.temporaryDirectory.path + "/attune-records-\(UUID().uuidString)"
        deinit { do { try FileManager.default.removeItem(atPath: path) } catch { print("\(path) was not removed") } }

        func names(_ folder: String = "") throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: path + folder).sorted()
        }

        func object(_ file: String) throws -> [String: Any] {
            let data = try Data(contentsOf: URL(filePath: path + "/" + file))
            return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        }
    }

    private func recorder(_ store: any RecordStore = InMemoryRecordStore()) throws -> ModelCallRecorder {
        var queues = QueueConfiguration()
        queues.overflow = .block(upTo: .seconds(30))
        return try ModelCallRecorder(store: store, queues: queues)
    }

    @Test func everyRecordIsAFileAndTheSummaryHoldsThemAll() async throws {
        let folder = Folder()
        let recorder = try recorder()
        var configuration = RecordingConfiguration.full(RecordFiles(folder: folder.path + "/deep/training"))
        configuration.description = "a test"
        let id = try await recorder.enable(.agent("shop"), configuration).id
        #expect(recorder.status(.agent("shop"))?.folder == folder.path + "/deep/training/\(id)")
        for number in 0..<30 {
            let call = ModelCall(
                "../TEXT LARGE/\(number)", provider: "acme", model: "m", context: SpanContext(agent: "shop", room: "r"))
            _ = await recorder.record(call, input: .json("{\"n\":\(number)}")) { "\"\(number)\"" }
        }
        _ = try? await recorder.record(ModelCall("T", context: SpanContext(agent: "shop")), input: nil) {
            throw CancellationError()
        }
        let status = try await recorder.disable(.agent("shop"), flushWithin: .seconds(600))
        #expect(status.sinkFailures == 0 && status.records == 31)
        let session = "deep/training/\(id)"
        let names = try folder.names("/" + session)
        #expect(names.count == 32 && names.last == "session_summary.json")
        let pattern =
            /[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}\.[0-9]{6}Z_[0-9a-f-]{36}_(_._TEXT_LARGE_[0-9]+|T)\.json/
        for name in names.dropLast() { #expect(name.wholeMatch(of: pattern) != nil, "\(name)") }
        let rights = try FileManager.default.attributesOfItem(atPath: "\(folder.path)/\(session)/\(names[0])")
        #expect(rights[.posixPermissions] as? Int == 0o600)
        let first = try folder.object("\(session)/\(names[0])")
        #expect(first["session_id"] as? String == id && first["agent_id"] as? String == "shop")
        #expect((first["input_params"] as? [String: Int])?["n"] == 0 && first["output"] as? String == "\"0\"")
        #expect(first["success"] as? Bool == true && first["room_id"] as? String == "r")
        #expect((first["created_at"] as? String)?.wholeMatch(of: /20[0-9-]+T[0-9:]+\.[0-9]{6}Z/) != nil)
        let attributes = try #require(first["attributes"] as? [String: Any])
        #expect(
            attributes["gen_ai.provider.name"] as? String == "acme"
                && attributes["gen_ai.request.model"] as? String == "m")
        let summary = try folder.object("\(session)/session_summary.json")
        #expect(summary["session_id"] as? String == id && summary["agent_id"] as? String == "shop")
        #expect(summary["description"] as? String == "a test" && summary["completed_at"] is String)
        let statistics = try #require(summary["statistics"] as? [String: Any])
        #expect(
            statistics["total"] as? Int == 31 && statistics["successful"] as? Int == 30
                && statistics["failed"] as? Int == 1)
        let records = try #require(summary["records"] as? [[String: Any]])
        #expect(
            records.count == 31
                && records.compactMap { $0["id"] as? String } == records.compactMap { $0["id"] as? String }.sorted())
        #expect(status.folder == folder.path + "/" + session)
    }

    @Test func aFolderThatCannotBeMadeIsCountedAndCallsGoOn() async throws {
        let folder = Folder()
        try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: true)
        try Data([1]).write(to: URL(filePath: folder.path + "/file"))
        let recorder = try recorder()
        let begun = try await recorder.enable(
            .everything, .enhanced(RecordFiles(folder: folder.path + "/file/in")), within: .seconds(600))
        #expect(begun.sinkFailures == 1 && begun.folder == nil)
        #expect(await recorder.record(ModelCall("A"), input: nil) { "answer" } == "answer")
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.total == 1 && status.records == 1)
    }

    @Test func damagedFilesOfOthersDoNotSpoilTheSummary() async throws {
        let folder = Folder()
        let recorder = try recorder()
        let id = try await recorder.enable(.everything, .enhanced(RecordFiles(folder: folder.path))).id
        _ = await recorder.record(ModelCall("A"), input: nil) { "" }
        #expect(await recorder.flush(within: .seconds(600)))
        for (name, text) in [("a.json", "{\"cut\":"), ("b.json", "[]"), ("c.json", ""), ("d.txt", "{}")] {
            try Data(text.utf8).write(to: URL(filePath: "\(folder.path)/\(id)/\(name)"))
        }
        #expect(unsafe mkfifo("\(folder.path)/\(id)/e.json", 0o600) == 0)
        #expect(try await recorder.disable(.everything, flushWithin: .seconds(600)).sinkFailures == 0)
        #expect((try folder.object("\(id)/session_summary.json")["records"] as? [Any])?.count == 1)
    }

    @Test func oldSessionsAreDeletedAndNothingElse() async throws {
        let folder = Folder()
        let files = RecordFiles(folder: folder.path)
        let recorder = try recorder()
        var ids: [String] = []
        for _ in 0..<4 {
            ids.append(try await recorder.enable(.everything, .enhanced(files)).id)
            _ = await recorder.record(ModelCall("A"), input: .text(String(repeating: "x", count: 5_000))) { "" }
            if ids.count < 4 { try await recorder.disable(.everything, flushWithin: .seconds(600)) }
        }
        try FileManager.default.createDirectory(atPath: folder.path + "/mine", withIntermediateDirectories: true)
        func age(_ id: String, days: Double) throws {
            for name in try folder.names("/" + id) {
                try FileManager.default.setAttributes(
                    [.modificationDate: Date(timeIntervalSinceNow: -days * 86_400)],
                    ofItemAtPath: "\(folder.path)/\(id)/\(name)")
            }
        }
        // Else a file that is being written goes by another name in between.
        #expect(await recorder.flush(within: .seconds(600)))
        for (place, id) in ids.enumerated() { try age(id, days: Double(40 - 10 * place)) }
        // The oldest by age; then by bytes, but never one that is going on.
        let old = RecordFiles(folder: folder.path, retention: FileRetention(age: .seconds(35 * 86_400)))
        #expect(try await old.enforceRetention() == [ids[0]])
        let small = RecordFiles(folder: folder.path, retention: FileRetention(bytes: 20_000))
        // 5 KB twice in each ended session: in its file and in its summary.
        #expect(try await small.enforceRetention() == [ids[1]])
        #expect(try await files.enforceRetention() == [])
        #expect(try folder.names().sorted() == (["mine"] + ids[2...]).sorted())
        try await recorder.disable(.everything, flushWithin: .seconds(600))
    }

    @Test func whatIsBehindALinkIsNeverDeletedAndTroubleWithOldSessionsStopsNothing() async throws {
        let folder = Folder()
        let other = Folder()
        let manager = FileManager.default
        for path in [folder.path, other.path] {
            try manager.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
        try Data("{}".utf8).write(to: URL(filePath: other.path + "/session_summary.json"))
        try Data("mine".utf8).write(to: URL(filePath: other.path + "/mine"))
        try manager.createSymbolicLink(atPath: folder.path + "/session_1_link", withDestinationPath: other.path)
        try Data("notes".utf8).write(to: URL(filePath: folder.path + "/session_notes"))
        // An ended session that cannot be deleted: somebody has made a folder in it.
        try manager.createDirectory(atPath: folder.path + "/session_2_full/in", withIntermediateDirectories: true)
        try Data("{}".utf8).write(to: URL(filePath: folder.path + "/session_2_full/session_summary.json"))
        // And one that can.
        try manager.createDirectory(atPath: folder.path + "/session_3_old", withIntermediateDirectories: true)
        try Data("{}".utf8).write(to: URL(filePath: folder.path + "/session_3_old/session_summary.json"))
        let recorder = try recorder()
        let files = RecordFiles(folder: folder.path, retention: FileRetention(bytes: 0))
        let begun = try await recorder.enable(.everything, .enhanced(files))
        #expect(begun.folder != nil && begun.sinkFailures == 0)
        _ = await recorder.record(ModelCall("A"), input: nil) { "" }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.fileFailures == 0 && status.sinkFailures == 0)
        #expect(try other.names().sorted() == ["mine", "session_summary.json"])
        let left = try folder.names()
        #expect(left.contains("session_notes") && !left.contains("session_3_old"), "\(left)")
        await #expect(throws: RecordError.self) { try await files.enforceRetention() }
    }

    @Test func aCallThatEndsLateIsInTheSummary() async throws {
        let folder = Folder()
        let recorder = try recorder()
        let id = try await recorder.enable(.everything, .enhanced(RecordFiles(folder: folder.path))).id
        let (words, writer) = AsyncStream<String>.makeStream()
        let stream = await recorder.recordStream(ModelCall("A"), input: nil) {
            words
        } chunk: {
            ModelChunk($0)
        }
        var iterator = stream.makeAsyncIterator()
        writer.yield("a")
        #expect(try await iterator.next() == "a")
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        func total() throws -> (Int?, Int?) {
            let summary = try folder.object("\(id)/session_summary.json")
            return ((summary["statistics"] as? [String: Any])?["total"] as? Int, (summary["records"] as? [Any])?.count)
        }
        let before = try total()
        #expect(before == (0, 0))
        writer.finish()
        #expect(try await iterator.next() == nil)
        #expect(await recorder.flush(within: .seconds(600)))
        let after = try total()
        #expect(after == (1, 1))
        #expect(try await recorder.store.recordings(limit: 1).first?.totals.records == 1)
    }

    @Test func anErasureDeletesFilesAndRewritesTheSummary() async throws {
        let folder = Folder()
        let recorder = try recorder()
        let files = RecordFiles(folder: folder.path)
        let id = try await recorder.enable(.everything, .enhanced(files)).id
        for (number, subject) in ["ada", "bob", "ada", nil].enumerated() {
            let call = ModelCall("A", context: SpanContext(agent: "ada", entity: subject))
            _ = await recorder.record(call, input: .text("call \(number) of \(subject ?? "nobody")")) { "" }
        }
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        let before = try folder.object("\(id)/session_summary.json")
        try Data("no record".utf8).write(to: URL(filePath: "\(folder.path)/\(id)/notes.json"))
        // One is in the summary alone.
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(folder.path)/\(id)").sorted()
        let lost = try #require(
            try names.first { name in
                let text = try String(contentsOfFile: "\(folder.path)/\(id)/\(name)", encoding: .utf8)
                return name != "session_summary.json" && text.contains("of ada")
            })
        try FileManager.default.removeItem(atPath: "\(folder.path)/\(id)/\(lost)")
        #expect(try await files.erase("ada") == 1)
        #expect(try await files.erase("ada") == 0)
        let after = try folder.object("\(id)/session_summary.json")
        let records = try #require(after["records"] as? [[String: Any]])
        #expect(records.compactMap { $0["input_params"] as? String }.sorted() == ["call 1 of bob", "call 3 of nobody"])
        #expect(after["started_at"] as? String == before["started_at"] as? String)
        #expect((after["statistics"] as? [String: Any])?["total"] as? Int == 4)
        for name in try FileManager.default.contentsOfDirectory(atPath: "\(folder.path)/\(id)") {
            let text = try String(contentsOfFile: "\(folder.path)/\(id)/\(name)", encoding: .utf8)
            #expect(!text.contains("of ada"), "\(name)")
        }
        #expect(try await RecordFiles(folder: folder.path + "/none").erase("ada") == 0)
    }

    @Test func aRecordIsALineAndJSONWhateverItHolds() throws {
        var span = SpanRecord(
            id: RecordID(at: Timestamp(microseconds: 1)), trace: RecordID(at: Timestamp(microseconds: 1)),
            kind: .modelCall, name: "A", startedAt: Timestamp(microseconds: 1))
        span.contents = [.input: .json("{\r\n  \"a\": [1,\n2]\n}"), .output: .text("a\nb")]
        (span.attributes, span.cost) = ("{\n}", .nan)
        #expect(!span.json.contains(0x0A) && !span.json.contains(0x0D))
        let read = try #require(JSONSerialization.jsonObject(with: Data(span.json)) as? [String: Any])
        #expect((read["input_params"] as? [String: [Int]]) == ["a": [1, 2]] && read["output"] as? String == "a\nb")
    }
}
