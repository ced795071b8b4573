import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// `attune migrate`: every user is carried over whole, and what can't be is as it was.
@Suite struct MigrateCommandTests {
    private func users(_ output: String) throws -> [String: [String: Any]] {
        let all = try #require(try object(output)["users"] as? [[String: Any]])
        return Dictionary(uniqueKeysWithValues: all.map { ($0["user"] as? String ?? "", $0) })
    }

    @Test(arguments: [2, 7])
    func changesTheRank(_ rank: Int) async throws {
        let folder = try TestFolder()
        var shop = try Shop(update: Shop.stateful)
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        let old = try #require(try await shop.adapter(folder("a.db"), "ada"))
        // Closed and saved: a copy of the file is a copy of all of it.
        let before = try bytes(folder("a.db"))
        let dry = await attune("migrate", folder("a.db"), "--rank", "\(rank)", "--dry-run", "--format", "json")
        #expect(dry.code == .success && dry.errors.isEmpty)
        #expect(try object(dry.output)["dry_run"] as? Bool == true)
        #expect(try bytes(folder("a.db")) == before)
        let run = await attune("migrate", folder("a.db"), "--rank", "\(rank)", "--format", "json")
        #expect(run.code == .success && run.errors.isEmpty)
        #expect(try users(run.output) as NSDictionary == users(dry.output) as NSDictionary)
        let ada = try #require(try users(run.output)["ada"])
        #expect(ada["outcome"] as? String == "changed" && ada["version_before"] as? String == "10")
        #expect(ada["version"] as? String == "11" && ada["rank_before"] as? Int == 4 && ada["rank"] as? Int == rank)
        #expect(ada["removed_entries"] as? Int == 10 && ada["score_error"] is NSNull)
        let error = try #require(ada["relative_error"] as? Double)
        let expected = try old.changed(rank: rank)
        // By its text: JSONSerialization is off by a last bit now and then.
        #expect(run.output.contains("\"relative_error\":\(expected.relativeError)"))
        #expect((rank > 4) == (error == 0))
        let verified = await attune("verify", folder("a.db"))
        #expect(verified.code == .success && verified.output.contains("2 users, 0 updates"))

        // An engine of the new rank goes on; events that were learned before aren't learned again.
        shop.rank = rank
        let now = try #require(try await shop.adapter(folder("a.db"), "ada", after: 0..<10))
        #expect(now.snapshot() == expected.adapter.snapshot())
        #expect(try #require(try await shop.adapter(folder("a.db"), "ada", after: 10..<13)).version == 14)
        #expect(await attune("verify", folder("a.db")).code == .success)
        // Once more there is nothing to do.
        let again = await attune("migrate", folder("a.db"), "--rank", "\(rank)")
        #expect(again.code == .success && again.output.contains("0 users were changed, 2 are as asked for already."))
        #expect(await attune("show", folder("a.db"), "--user", "ada").output.contains("entries                 3"))
    }

    @Test func oneUserAloneIsChanged() async throws {
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: ["ada", "bob"])
        let text = await attune("migrate", folder("a.db"), "--rank", "2", "--user", "ada")
        #expect(text.code == .success && text.output.contains("1 users were changed, 0 are"))
        #expect(text.output.contains("4 to 2") && text.output.contains(" %"))
        let bob = try object(await attune("show", folder("a.db"), "--user", "bob", "--format", "json").output)
        #expect(bob["rank"] as? Int == 4 && bob["entries"] as? Int == 10)
        let nobody = await attune("migrate", folder("a.db"), "--rank", "2", "--user", "eve")
        #expect(nobody.code == .badData && nobody.errors.contains("no user 'eve'"))
    }

    /// Items under two models, the second a turned and doubled first.
    private func writeItems(_ folder: TestFolder, count: Int = 200) throws {
        var random = PhiloxGenerator(seed: 3)
        var (old, new) = (
            Matrix<Float>(rows: count, columns: Shop.dimension), Matrix<Float>(rows: count, columns: Shop.dimension + 4)
        )
        for i in 0..<count {
            for j in 0..<Shop.dimension {
                old[i, j] = Float(random.normal())
                new[i, (j + 5) % (Shop.dimension + 4)] = 2 * old[i, j]
            }
        }
        // Without an embedding under the old model: left out, or nothing would fit.
        for j in 0..<Shop.dimension { old[0, j] = 0 }
        for j in new.row(0).indices { new[0, j] = 1000 }
        try NumPyFile.write(old, to: folder("old.npy"))
        try NumPyFile.write(new, to: folder("new.npy"))
    }

    @Test func carriesAdaptersToAnotherModel() async throws {
        let folder = try TestFolder()
        let shop = try Shop()
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        try writeItems(folder)
        func run(_ more: String...) async -> Transcript {
            await attune(
                arguments: [
                    "migrate", folder("a.db"), "--embedding-model", "new", "--items-from", folder("old.npy"),
                    "--items-to",
                    folder("new.npy"),
                ] + more)
        }
        let migrated = await run("--rank", "3", "--format", "json")
        #expect(migrated.code == .success && migrated.errors.isEmpty)
        let fit = try #require(try object(migrated.output)["alignment"] as? [String: Any])
        #expect(try #require(fit["residual"] as? Double) < 1e-3)
        let ada = try #require(try users(migrated.output)["ada"])
        #expect(ada["embedding_model"] as? String == "new" && ada["embedding_model_before"] as? String == "test")
        #expect(ada["dimension"] as? Int == Shop.dimension + 4 && ada["rank"] as? Int == 3)
        #expect(ada["version"] as? String == "12")
        #expect(try #require(ada["score_error"] as? Double) < 1e-3)
        #expect(await attune("verify", folder("a.db")).code == .success)
        let again = await run()
        #expect(again.code == .success && again.output.contains("0 users were changed, 2 are as asked for already."))
        #expect(again.output.contains("The map between the models, fitted to"))
    }

    @Test func whatCannotBeMigratedIsAsItWas() async throws {
        let folder = try TestFolder()
        let shop = try Shop()
        try await shop.make(folder("a.db"), users: ["ada"])
        try writeItems(folder)
        func run(_ more: String...) async -> Transcript {
            await attune(arguments: ["migrate", folder("a.db")] + more)
        }
        let model = ["--embedding-model", "new", "--items-from", folder("old.npy")]
        for arguments in [
            [], ["--embedding-model", "new"], model,
            ["--items-from", folder("old.npy"), "--items-to", folder("new.npy")],
            ["--rank", "0"], ["--rank", "257"],
            ["--embedding-model", String(repeating: "x", count: 1025)] + model.dropFirst(2)
                + ["--items-to", folder("new.npy")], model + ["--items-to", "items.csv"],
        ] {
            #expect(await attune(arguments: ["migrate", folder("a.db")] + arguments).code == .usage, "\(arguments)")
        }
        let alone = await run("--embedding-model", "new")
        #expect(alone.errors.contains("'--items-from' and '--items-to'"))
        func items(_ new: String) async -> Transcript {
            await attune(arguments: ["migrate", folder("a.db")] + model + ["--items-to", new])
        }
        #expect(await items(folder("none.npy")).code == .noInput)
        try Data("no array".utf8).write(to: URL(filePath: folder("bad.npy")))
        #expect(await items(folder("bad.npy")).code == .badData)
        try NumPyFile.write(Matrix<Float>(rows: 3, columns: 4), to: folder("few.npy"))
        let few = await items(folder("few.npy"))
        #expect(few.code == .badData && few.errors.contains("200 and 3 rows"))
        try NumPyFile.write(Matrix<Float>(rows: 200, columns: 4), to: folder("zeros.npy"))
        let zeros = await items(folder("zeros.npy"))
        #expect(zeros.code == .badData && zeros.errors.contains("share 0 items"))

        // A user whose dimension is too small fails alone; the same for another model's dimension.
        let shape = try AdapterShape(dimension: 3, rank: 1)
        let small = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, user: "small"))
        let storage = try await SQLiteStorage(path: folder("a.db"))
        try await storage.save([StoredAdapter(user: "small", embeddingModel: "tiny", adapter: small)])
        await storage.close()
        let other = await attune(
            arguments: ["migrate", folder("a.db")] + model + ["--items-to", folder("new.npy"), "--dry-run"])
        #expect(other.code == .badData && other.output.contains("FAILED") && other.output.contains("dimension 12"))
        let rank = await run("--rank", "5", "--format", "json")
        #expect(rank.code == .badData && rank.errors.contains("1 of 2 users"))
        let outcomes = try users(rank.output)
        #expect(
            outcomes["ada"]?["outcome"] as? String == "changed" && outcomes["small"]?["outcome"] as? String == "failed")
        let kept = try object(await attune("show", folder("a.db"), "--user", "small", "--format", "json").output)
        #expect(kept["rank"] as? Int == 1 && kept["state_hash"] as? String == fixedHex(small.stateHash))
        #expect(await attune("verify", folder("a.db")).code == .success)
        #expect(await attune("migrate", folder("none.db"), "--rank", "2").code == .noInput)
        #expect(await attune("migrate", folder("old.npy"), "--rank", "2").code == .badData)
        #expect(try !folder.names.contains("none.db"))
    }
}
