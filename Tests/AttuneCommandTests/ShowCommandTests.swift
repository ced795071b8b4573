import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// What `attune show` says of a user.
@Suite struct ShowCommandTests {
    @Test func showsAdapterJournalAndTheLastUpdates() async throws {
        let folder = try TestFolder()
        let shop = try Shop(update: Shop.stateful)
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        // In use: another storage of the process writes to it.
        let storage = try await SQLiteStorage(path: folder("a.db"))
        let shown = await attune("show", folder("a.db"), "--user", "ada", "--entries", "3", "--format", "json")
        await storage.close()
        #expect(shown.code == .success && shown.errors.isEmpty)
        let facts = try object(shown.output)
        #expect(facts["saved_version"] as? String == "6" && facts["version"] as? String == "10")
        #expect(facts["steps"] as? String == "10" && facts["base_version"] is NSNull)
        #expect(facts["entries"] as? Int == 10 && facts["unsaved_entries"] as? Int == 4)
        #expect(facts["rank"] as? Int == 4 && facts["dimension"] as? Int == 12)
        #expect(facts["embedding_model"] as? String == "test" && facts["optimizer_state"] as? String == "adam")
        #expect(facts["optimizer_steps"] as? String == "10" && facts["protected"] as? Bool == true)
        #expect(facts["saved_adapter_damaged"] as? Bool == false && facts["feedback_ids"] as? Int == 10)
        let signals = try #require(facts["signals"] as? [String: Int])
        #expect(
            signals == [
                "target": 2, "like": 2, "reward": 2, "preference": 2, "ranking": 1, "scaled_input": 1, "watch": 1,
            ])
        let last = try #require(facts["last_entries"] as? [[String: Any]])
        #expect(last.map { $0["version"] as? String } == ["8", "9", "10"])
        #expect(last.map { $0["id"] as? String } == (7..<10).map { "\(FeedbackID("event \($0)"))" })
        let liked = try #require(last[0]["feedback"] as? [[String: Any]])
        #expect(liked.count == 1 && liked[0]["signal"] as? String == "like" && liked[0]["item"] as? Int == 7)
        // What it says is the adapter that an engine makes of the file.
        let adapter = try #require(try await shop.adapter(folder("a.db"), "ada"))
        #expect(facts["state_hash"] as? String == fixedHex(adapter.stateHash))
        for key in ["first_recorded", "last_recorded"] {
            let time = try #require(facts[key] as? String)
            #expect(time.wholeMatch(of: /20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/) != nil, "\(time)")
        }

        let text = await attune("show", folder("a.db"), "--user", "ada")
        #expect(text.code == .success && text.output.contains("The last 10 updates"))
        #expect(text.output.contains("ranking of item 5, scaled_input") && text.output.contains("preference of item 3"))
        let none = await attune("show", folder("a.db"), "--user", "ada", "--entries", "0")
        #expect(none.code == .success && !none.output.contains("The last"))
    }

    @Test func aHostileIdDrivesNoTerminal() async throws {
        let folder = try TestFolder()
        let user = "\u{1B}[31mred\n\u{202E}evil"
        try await Shop().make(folder("a.db"), users: [user], steps: 2, unsaved: 1)
        for arguments in [
            ["show", folder("a.db"), "--user", user],
            ["export", folder("a.db"), "--user", user, "--to", folder("a.safetensors")],
            ["import", folder("a.db"), "--user", user, "--from", folder("a.safetensors"), "--replace"],
            ["migrate", folder("a.db"), "--rank", "3"], ["show", folder("a.db"), "--user", user + "?"],
        ] {
            let run = await attune(arguments: arguments)
            #expect(run.output.contains("\\u{1B}[31mred\\n\\u{202E}evil") || run.code != .success, "\(arguments)")
            #expect(!(run.output + run.errors).unicodeScalars.contains { $0 == "\u{1B}" || $0 == "\u{202E}" })
        }
        // JSON has the id as it is.
        let shown = try object(await attune("show", folder("a.db"), "--user", user, "--format", "json").output)
        #expect(shown["user"] as? String == user)
    }

    @Test func whoIsNotThereIsToldApart() async throws {
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: ["ada", "bob"], steps: 2, unsaved: 1)
        #expect(await attune("forget", folder("a.db"), "--user", "bob").code == .success)
        for command in ["show", "export"] {
            func run(_ user: String, _ more: String...) async -> Transcript {
                let path = command == "export" ? ["--to", folder("out")] : []
                return await attune(arguments: [command, folder("a.db"), "--user", user] + path + more)
            }
            let unknown = await run("eve")
            #expect(unknown.code == .badData && unknown.errors.contains("no user 'eve' in the project 'default'"))
            let forgotten = await run("bob")
            #expect(forgotten.code == .badData && forgotten.errors.contains("was forgotten"))
            #expect(await run("ada", "--project", "other").code == .badData)
            #expect(await attune(command, folder("a.db")).code == .usage)
            #expect(await run(String(repeating: "x", count: 1025)).code == .usage)
        }
        #expect(try !folder.names.contains("out"))
        #expect(await attune("show", folder("none.db"), "--user", "ada").code == .noInput)
        #expect(await attune("show", folder("a.db"), "--user", "ada", "--entries", "-1").code == .usage)
    }

    @Test func momentsAreDatesOfUTC() {
        for (microseconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"), (-1, "1969-12-31T23:59:59.999999Z"),
            (951_826_554_000_001, "2000-02-29T12:15:54.000001Z"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000Z"),
            (.max, "+294247-01-10T04:00:54.775807Z"), (.min, "-290308-12-21T19:59:05.224192Z"),
        ] as [(Int64, String)] {
            #expect(timestamp(microseconds: microseconds) == text)
        }
    }

    @Test func compactGivesRoomBack() async throws {
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: (0..<30).map { "user \($0)" })
        for user in 1..<30 {
            #expect(await attune("forget", folder("a.db"), "--user", "user \(user)").code == .success)
        }
        let facts = try object(await attune("compact", folder("a.db"), "--format", "json").output)
        let (before, after) = (
            try #require(facts["bytes_before"] as? Int), try #require(facts["bytes_after"] as? Int)
        )
        let size = try bytes(folder("a.db")).count
        #expect(after < before && after == size)
        let text = await attune("compact", folder("a.db"))
        #expect(text.code == .success && text.output.contains("\(after) bytes before, \(after) after."))
        #expect(await attune("verify", folder("a.db")).output.contains("1 users, 10 updates"))
        #expect(await attune("compact", folder("none.db")).code == .noInput)
        #expect(try !folder.names.contains("none.db"))
        let storage = try await SQLiteStorage(path: folder("a.db"))
        #expect(await attune("compact", folder("a.db")).code == .ioError)
        await storage.close()
    }
}
