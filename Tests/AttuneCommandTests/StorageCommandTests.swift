import Attune
import CSQLite
import Foundation
import Testing

@testable import AttuneCommand

/// The commands on storage files, from the command line to the file.
@Suite struct StorageCommandTests {
    private func object(_ text: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    @Test func personalizeGoesOnFromItsStorageFile() async throws {
        let folder = try JobTests.Folder()
        let file = folder.path + "/attune.db"
        let plain = try object(await attune("personalize", folder.path, "--rank", "3", "--format", "json").output)
        let first = await attune(
            "personalize", folder.path, "--rank", "3", "--store", file, "--format", "json", "--output",
            folder.path + "/out")
        #expect(first.code == .success && first.errors.isEmpty)
        let summary = try object(first.output)
        #expect(summary["updates"] as? Int == 24 * 7 && summary["already_known"] as? Int == 0)
        // A journal changes nothing of what is learned.
        #expect(summary["loss"] as? NSDictionary == plain["loss"] as? NSDictionary)
        let verified = await attune("verify", file)
        #expect(verified.code == .success && verified.output.contains("24 users, 168 updates"))

        let again = try object(
            await attune("personalize", folder.path, "--rank", "3", "--store", file, "--format", "json").output)
        #expect(again["updates"] as? Int == 0 && again["already_known"] as? Int == 24 * 7)
        #expect(again["loss"] is NSNull && again["ranking"] is NSNull)
        let text = await attune("personalize", folder.path, "--rank", "3", "--store", file)
        #expect(text.code == .success && text.output.hasPrefix("All 168 likes of"))
        // What is new of one user alone: the others' adapters are in memory too, and none is any larger.
        func bytesEach(_ output: String) -> Substring? { output.firstMatch(of: /dimension 8, (\d+) bytes each/)?.1 }
        let all = await attune("personalize", folder.path, "--rank", "3", "--store", folder.path + "/all.db")
        let rows = try String(contentsOfFile: folder.path + "/interactions.csv", encoding: .utf8)
        try folder.write("interactions.csv", rows + (0..<40).map { "\"../u 3, ü\",\($0),5,100000\n" }.joined())
        let some = await attune("personalize", folder.path, "--rank", "3", "--store", file)
        #expect(some.output.contains("Personalized 1 users"))
        #expect(bytesEach(all.output) != nil && bytesEach(some.output) == bytesEach(all.output))
        // Other settings than the file's adapters have: refused, and nothing changed.
        let other = await attune("personalize", folder.path, "--rank", "2", "--store", file)
        #expect(other.code == .badData && other.errors.contains("rank 3"))
        #expect(await attune("verify", file).code == .success)
    }

    @Test func usersAreListedBackedUpAndForgotten() async throws {
        let folder = try JobTests.Folder()
        let (file, copy) = (folder.path + "/attune.db", folder.path + "/copy.db")
        let user = "../u 3, ü"
        #expect(await attune("personalize", folder.path, "--rank", "3", "--store", file).code == .success)
        let listed = try object(await attune("users", file, "--format", "json").output)
        let users = try #require(listed["users"] as? [[String: Any]])
        #expect(users.count == 24 && users.allSatisfy { $0["version"] as? String == "7" && $0["entries"] as? Int == 7 })
        #expect(await attune("backup", file, copy).code == .success)
        let twice = await attune("backup", file, copy)
        #expect(twice.code == .cannotCreate && twice.errors.contains("there is something at"))

        #expect(await attune("forget", file, "--user", user).code == .success)
        #expect(
            try #require(try object(await attune("users", file, "--format", "json").output)["users"] as? [Any]).count
                == 23)
        // Their likes come again, and are refused; the others' are there already.
        let late = await attune("personalize", folder.path, "--rank", "3", "--store", file)
        #expect(late.code == .success && late.output.contains("7 likes are of users who were forgotten"))
        let facts = try object(
            await attune("personalize", folder.path, "--rank", "3", "--store", file, "--format", "json").output)
        #expect(facts["forgotten"] as? Int == 7 && facts["already_known"] as? Int == 23 * 7)
        #expect(
            try #require(try object(await attune("users", file, "--format", "json").output)["users"] as? [Any]).count
                == 23)
        // A mistyped project is no empty one.
        for command in [["verify"], ["users"], ["forget", "--user", "x"], ["show", "--user", "x"]] {
            let wrong = await attune(arguments: [command[0], file] + command.dropFirst() + ["--project", "defualt"])
            #expect(wrong.code == .badData && wrong.errors.contains("it has 'default'"))
        }
        #expect(await attune("verify", file).code == .success)
        #expect(await attune("users", copy).output.contains("24 users"))

        let unknown = await attune("forget", copy, "--user", user, "--feedback", "order-1")
        #expect(unknown.code == .badData && unknown.errors.contains("no feedback with this id"))
        let nobody = await attune("forget", copy, "--user", "nobody", "--feedback", "order-1")
        #expect(nobody.code == .badData)
        #expect(await attune("forget", copy).code == .usage)
    }

    @Test func forgettingNamesThePriorsThatHadLearnedIt() async throws {
        let folder = try TestFolder()
        let shop = try Shop()
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        let storage = try await SQLiteStorage(path: folder("a.db"))
        let engine = try shop.engine(storage)
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 1])
        let readers = (0..<22).map { "reader \($0)" }
        for user in readers { try await engine.createAdapter(for: user, startingFrom: prior) }
        let hash = fixedHex(try #require(try await storage.priors(from: "ada").first).hash)
        await storage.close()
        func forget(_ more: String...) async -> Transcript {
            await attune(arguments: ["forget", folder("a.db"), "--user"] + more)
        }
        let one = try object(await forget("ada", "--feedback", "event 1", "--format", "json").output)
        let stale = try #require(one["stale_priors"] as? [[String: Any]])
        #expect(stale.count == 1 && stale[0]["prior"] as? String == hash)
        #expect(stale[0]["users"] as? [String] == readers.sorted())
        // A reader's own updates are in no prior; what was stale before is listed still.
        let none = await forget(readers[3])
        #expect(none.code == .success && none.output.contains("stale_priors        1\n"))
        let text = await forget("bob").output
        #expect(text.contains("stale_priors        1\nPrior "))
        #expect(text.contains("Prior \(hash) is stale. 21 started from it: reader 0, reader 1, "))
        #expect(text.hasSuffix(" and 1 more.\n"))
        #expect(await attune("verify", folder("a.db")).code == .success)
    }

    @Test func whatCannotBeErasedNowIsForgottenAllTheSame() async throws {
        let folder = try TestFolder()
        let shop = try Shop()
        let file = folder("a.db")
        try await shop.make(file, users: ["ada", "bob"])
        // Another program reads for a long time.
        var reader: OpaquePointer?
        #expect(unsafe sqlite3_open(file, &reader) == SQLITE_OK)
        defer { unsafe sqlite3_close(reader) }
        func read(_ sql: String) { #expect(unsafe sqlite3_exec(reader, sql, nil, nil, nil) == SQLITE_OK) }
        read("BEGIN; SELECT count(*) FROM journal")
        for (i, options) in [["ada", "--feedback", "event 1"], ["ada"], ["bob", "--format", "json"]].enumerated() {
            let run = await attune(arguments: ["forget", file, "--user"] + options)
            #expect(run.code == .success)
            #expect(run.errors.contains("Warning: the bytes of what was forgotten") && run.errors.contains("compact"))
            if i < 2 {
                #expect(run.output.contains(/erased +no\n/), "\(run.output)")
            } else {
                #expect(try object(run.output)["erased"] as? Bool == false)
            }
        }
        read("COMMIT")
        #expect(try object(await attune("users", file, "--format", "json").output)["users"] as? [String] == [])
        let again = await attune("forget", file, "--user", "ada", "--format", "json")
        #expect(again.code == .success && again.errors.isEmpty)
        #expect(try object(again.output)["erased"] as? Bool == true)
    }

    @Test func whatIsNoStorageFileIsToldApart() async throws {
        let folder = try JobTests.Folder()
        for command in ["verify", "users", "backup", "forget", "retain"] {
            func run(_ file: String) async -> Transcript {
                let options = [
                    "backup": [folder.path + "/copy.db"], "forget": ["--user", "ada"], "retain": ["--days", "3"],
                ]
                let more = options[command] ?? []
                return await attune(arguments: [command, file] + more)
            }
            #expect(await run(folder.path + "/none.db").code == .noInput)
            #expect(!FileManager.default.fileExists(atPath: folder.path + "/none.db"))
            #expect(await run(folder.path + "/items.csv").code == .badData)
        }
        // An empty one is clean.
        let empty = folder.path + "/empty.db"
        let storage = try await SQLiteStorage(path: empty)
        await storage.close()
        #expect(await attune("verify", empty).code == .success)
    }

    @Test func aMismatchEndsWithOne() async throws {
        let folder = try JobTests.Folder()
        let file = folder.path + "/attune.db"
        #expect(await attune("personalize", folder.path, "--rank", "3", "--store", file).code == .success)
        let storage = try await SQLiteStorage(path: file)
        let users = try await storage.users()
        var record = try #require(try await storage.load(users[0]))
        record.adapter = try #require(try await storage.load(users[1])).adapter
        try await storage.save([record])
        await storage.close()
        let verified = await attune("verify", file)
        #expect(verified.code == .mismatch && verified.output.contains("MISMATCH"))
        let facts = try object(await attune("verify", file, "--format", "json").output)
        #expect((facts["mismatches"] as? [Any])?.count == 1)
    }

    @Test func copiesGoWhereTheyCanBeMade() async throws {
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: ["ada"])
        let names = try folder.names
        for copy in ["none/copy.db", "a.db/copy.db"] {
            let run = await attune("backup", folder("a.db"), folder(copy))
            #expect(run.code == .cannotCreate && run.errors.contains(folder(copy)), "\(copy)")
        }
        #expect(await attune("backup", folder("none.db"), folder("copy.db")).code == .noInput)
        #expect(try folder.names == names)
        #expect(await attune("backup", folder("a.db"), folder("copy.db")).code == .success)
    }
}
