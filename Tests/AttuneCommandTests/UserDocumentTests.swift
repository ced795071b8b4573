import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// `attune export --as json`: everything that is known of a user, as it was put in.
@Suite struct UserDocumentTests {
    private func export(_ folder: TestFolder, _ user: String, to name: String = "ada.json") async throws -> [String:
        Any]
    {
        let run = await attune(
            "export", folder("a.db"), "--user", user, "--as", "json", "--to", folder(name), "--format", "json")
        #expect(run.code == .success && run.errors.isEmpty, "\(run.errors)")
        #expect(try rights(folder(name)) == 0o600)
        let content = try bytes(folder(name))
        #expect(try object(run.output)["bytes"] as? Int == content.count)
        return try object(String(decoding: content, as: UTF8.self))
    }

    private func floats(_ value: Any?) throws -> [Float] {
        try #require(value as? [NSNumber]).map { Float($0.doubleValue) }
    }

    @Test func holdsWhatWasPutIn() async throws {
        let folder = try TestFolder()
        let shop = try Shop(update: Shop.stateful)
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        #expect(
            await attune("forget", folder("a.db"), "--user", "ada", "--feedback", "event 2").code == .success)
        let document = try await export(folder, "ada")
        #expect(document["format"] as? String == "attune-user" && document["format_version"] as? Int == 1)
        #expect(document["user"] as? String == "ada" && document["project"] as? String == "default")
        // Ten updates, of which one was forgotten, and the correction that says so.
        let entries = try #require(document["entries"] as? [[String: Any]])
        #expect(entries.map { $0["version"] as? String } == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11].map { "\($0)" })
        #expect(entries.map { $0["kind"] as? String } == Array(repeating: "update", count: 9) + ["correction"])
        let known = try #require(document["feedback_ids"] as? [[String: Any]])
        #expect(known.count == 10 && known.count { $0["forgotten"] as? Bool == true } == 1)
        let gone = known.first { $0["forgotten"] as? Bool == true }
        #expect(gone?["id"] as? String == "\(FeedbackID("event 2"))" && gone?["version"] is NSNull)

        let catalogue = fixedHex(shop.catalogue.contentHash)
        func sample(_ entry: Int, _ index: Int = 0) throws -> [String: Any] {
            let feedback = try #require(entries[entry]["feedback"] as? [[String: Any]])
            return feedback[index]
        }
        func expectItem(_ value: Any?, _ index: Int) throws {
            let item = try #require(value as? [String: Any])
            #expect(item["item"] as? Int == index && item["catalogue"] as? String == catalogue)
        }
        let target = try sample(0)
        #expect(target["signal"] as? String == "target" && target["weight"] as? Double == 1)
        guard case .target(let vector) = shop.batch("ada", 0)[0].signal else { throw CancellationError() }
        #expect(try floats(target["target"]) == vector)
        let embedding = try #require(target["embedding"] as? [String: Any])
        #expect(try floats(embedding["vector"]) == shop.batch("ada", 0)[0].embedding)
        let like = try sample(1)
        try expectItem(like["item"], 7)
        try expectItem(like["embedding"], 4)
        #expect(like["seen"] as? [Int] == [1, 2])
        // The third was forgotten.
        let preference = try sample(2)
        try expectItem(preference["item"], 3)
        #expect((preference["others"] as? [Any])?.count == 2 && preference["propensity"] as? Double == 0.5)
        let ranking = try sample(3)
        #expect(ranking["signal"] as? String == "ranking")
        try expectItem(ranking["item"], 5)
        #expect(try sample(3, 1)["reward"] as? Double == 0.75)
        let watch = try sample(4)
        #expect(watch["completion"] as? Double == 0.9 && watch["rating"] as? Double == 4)
        #expect(watch["rewatched"] as? Bool == true)
        let reward = try sample(7)
        #expect(reward["reward"] as? Double == -0.5 && reward["weight"] as? Double == 2)
        #expect((reward["item"] as? [String: Any])?["offset"] as? Double == 0.25)

        let hash = try #require(entries[0]["configuration"] as? String)
        let settings = try #require((document["configurations"] as? [String: [String: Any]])?[hash])
        #expect(settings["embeddingModel"] as? String == "test" && settings["rank"] as? Int == 4)
        #expect((settings["update.optimizer"] as? String)?.contains("adam") == true)
        #expect(settings["durability"] == nil && document["base_adapter"] is NSNull)
    }

    @Test func theAdapterIsTheOneOfNowToTheBit() async throws {
        let folder = try TestFolder()
        let shop = try Shop(update: Shop.stateful)
        try await shop.make(folder("a.db"), users: ["ada"])
        let document = try await export(folder, "ada")
        #expect(document["saved_version"] as? String == "6" && document["version"] as? String == "10")
        #expect((document["saved_adapter"] as? [String: Any])?["version"] as? String == "6")
        let facts = try #require(document["adapter"] as? [String: Any])
        let adapter = try #require(try await shop.adapter(folder("a.db"), "ada"))
        func matrix(_ name: String) throws -> [Float] { try #require(facts[name] as? [Any]).flatMap { try floats($0) } }
        #expect(try matrix("A") == adapter.down.array && matrix("B_transposed") == adapter.up.array)
        #expect(try floats(facts["bias_values"]) == adapter.bias)
        let text = try #require(facts["snapshot_base64"] as? String)
        let snapshot = try #require(Data(base64Encoded: text))
        #expect(Array(snapshot) == adapter.snapshot())
        // Now that it is saved, it stands there once; and once more after a migration, which leaves a base.
        #expect(try await export(folder, "ada", to: "saved.json")["saved_adapter"] is NSNull)
        #expect(await attune("migrate", folder("a.db"), "--rank", "2").code == .success)
        let migrated = try await export(folder, "ada", to: "migrated.json")
        #expect((migrated["base_adapter"] as? [String: Any])?["rank"] as? Int == 2)
        #expect((migrated["entries"] as? [Any])?.isEmpty == true)
        #expect((migrated["feedback_ids"] as? [Any])?.count == 10)
    }

    @Test func priorsThatWereMergedFromTheUserAreNamed() async throws {
        let folder = try TestFolder()
        let shop = try Shop()
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        let storage = try await SQLiteStorage(path: folder("a.db"))
        let engine = try shop.engine(storage)
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 1])
        try await engine.createAdapter(for: "eve", startingFrom: prior)
        _ = try await engine.forgetFeedback(FeedbackID("event 1"), of: "bob")
        let hash = fixedHex(try #require(try await storage.priors(from: "ada").first).hash)
        await storage.close()
        let document = try await export(folder, "ada")
        let merged = try #require(document["merged_into"] as? [[String: Any]])
        #expect(merged.count == 1 && merged[0].keys.sorted() == ["prior", "stale", "version"])
        #expect(merged[0]["prior"] as? String == hash && merged[0]["version"] as? String == "10")
        #expect(merged[0]["stale"] as? Bool == true)
        #expect((document["starts_from"] as? [Any])?.isEmpty == true)
        let eve = try await export(folder, "eve", to: "eve.json")
        #expect(eve["priors"] as? [String] == [hash])
        let starts = try #require(eve["starts_from"] as? [[String: Any]])
        let start = try #require(starts.first)
        #expect(starts.count == 1 && start.keys.sorted() == ["prior", "stale"])
        #expect(start["prior"] as? String == hash && start["stale"] as? Bool == true)
    }

    @Test func aPriorIsNamed() async throws {
        let folder = try TestFolder()
        let shop = try Shop()
        try await shop.make(folder("a.db"), users: ["ada"])
        let storage = try await SQLiteStorage(path: folder("a.db"))
        let donor = try #require(try await storage.load("ada")).adapter
        let prior = try AdapterPrior(merging: [(donor, 1)], rank: 2, normalizing: false, shrinkage: .none)
        let engine = try shop.engine(storage)
        try await engine.createAdapter(for: "bob", startingFrom: prior)
        try await shop.learn(engine, "bob", 0..<3)
        try await engine.checkpoint()
        await storage.close()
        let document = try await export(folder, "bob")
        let entries = try #require(document["entries"] as? [[String: Any]])
        #expect(entries.map { $0["kind"] as? String } == ["create", "update", "update", "update"])
        let start = try #require(entries[0]["start"] as? [String: Any])
        let hash = try #require(start["prior"] as? String)
        #expect(document["priors"] as? [String] == [hash] && start["learned_again"] as? Bool == false)
        #expect((document["adapter"] as? [String: Any])?["started_from"] is String)
        #expect((document["merged_into"] as? [Any])?.isEmpty == true)
        // And it goes elsewhere with the adapter's state.
        _ = await attune("export", folder("a.db"), "--user", "bob", "--to", folder("bob"))
        #expect(await attune("import", folder("b.db"), "--user", "bob", "--from", folder("bob")).code == .success)
        let stayed = try #require(try await shop.adapter(folder("a.db"), "bob", after: 3..<9))
        let carried = try #require(try await shop.adapter(folder("b.db"), "bob", after: 3..<9))
        #expect(stayed.snapshot() == carried.snapshot())
    }
}
