import Attune
import Foundation
import StorageTesting
import Testing

@testable import AttuneCommand
@testable import SQLiteStorage

/// The commands on a file's bank, from the command line to the file and back.
@Suite struct BankCommandTests {
    private static let names = (0..<12).map { "red \($0)" } + (0..<9).map { "blue \($0)" }

    private func object(_ run: Transcript) throws -> [String: Any] {
        try #require(
            try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any],
            "\(run.output)\(run.errors)")
    }

    /// A file with 21 users' adapters and two episodes of each: two tastes, and all gained. One more has a single episode.
    private func made(_ file: String) async throws {
        let storage = try await SQLiteStorage(path: file)
        var builder = EpisodeBuilder()
        builder.model = StableHash.hash("unnamed")
        builder.key = storage.bankKey
        let now = Date().timeIntervalSince1970
        builder.start = Timestamp(microseconds: Int64(now - 86_400) * 1_000_000)
        let donors = try PlantedDonors(
            builder,
            [.init(name: "red", taste: 3, users: 12, gain: 0.3), .init(name: "blue", taste: 20, users: 9, gain: 0.2)])
        let bank = try await SQLiteReasoningBank(storage)
        try await donors.fill(bank)
        _ = try await bank.storePattern(builder.episode(user: "single", gain: nil))
        for name in Self.names {
            let adapter = try #require(try await donors.adapter(of: donors.digest(name)))
            try await storage.save([StoredAdapter(user: name, embeddingModel: "unnamed", adapter: adapter)])
        }
        await storage.close()
    }

    @Test func whatABankHoldsIsConsolidatedAndLookedUp() async throws {
        let folder = try TestFolder()
        let file = folder("a.db")
        try await made(file)
        func json(_ arguments: String...) async throws -> [String: Any] {
            try object(await attune(arguments: arguments + ["--format", "json"]))
        }
        func count(_ any: Any?) -> Int? { (any as? [Any])?.count }

        let dry = try await json("consolidate", file, "--dry-run")
        #expect(dry["dry_run"] as? Bool == true && count(dry["created"]) == 2 && dry["episodes"] as? Int == 42)
        #expect(try await json("bank", "skills", file)["skills"] as? [String] == [])
        let strict = try await json("consolidate", file, "--dry-run", "--minimum-uses", "100")
        #expect(count(strict["created"]) == 0 && count(strict["refused"]) == 2)
        let real = try await json("consolidate", file)
        #expect(real["dry_run"] as? Bool == false && real["population_donors"] as? Int == 21)
        func content(_ report: [String: Any]) -> NSArray {
            (report["created"] as? [[String: Any]] ?? []).map { $0.filter { $0.key != "updated_at" } } as NSArray
        }
        #expect(content(real) == content(dry))
        let again = await attune("consolidate", file)
        #expect(again.code == .success && again.output.contains("42 episodes with an outcome, of 21 users."))
        #expect(
            again.output.contains("21 donors") && again.output.contains(/updated +\d/)
                && !again.output.contains("created "))

        let stats = try await json("bank", "stats", file)
        for (name, value) in ["episodes": 43, "resolved": 42, "users": 22, "skills": 2, "populations": 1] {
            #expect(stats[name] as? Int == value, "\(name)")
        }
        #expect(stats["interrupted_consolidation"] as? Bool == false && count(stats["kinds"]) == 1)
        #expect(await attune("bank", "stats", file).output.contains(/resolved +42\n/))

        let skills = try #require(try await json("bank", "skills", file)["skills"] as? [[String: Any]])
        #expect(skills.compactMap { $0["donors"] as? Int }.sorted() == [9, 12])
        #expect(skills.allSatisfy { ($0["evidence"] as? [String: Any])?["success_rate"] as? Double == 1 })
        #expect(await attune("bank", "skills", file).output.split(separator: "\n").count >= 3)

        let own = try #require(
            try await json("bank", "episodes", file, "--user", "red 3")["episodes"] as? [[String: Any]])
        #expect(own.compactMap { $0["version"] as? String }.sorted() == ["1", "2"])
        #expect(Set(own.compactMap { $0["user"] as? String }).count == 1)
        #expect(count(try await json("bank", "episodes", file, "--limit", "5")["episodes"]) == 5)
        #expect(await attune("bank", "episodes", file, "--limit", "5").output.contains("rate"))

        let similar = try #require(
            try await json("bank", "similar", "red 3", file, "--limit", "7")["similar"] as? [[String: Any]])
        #expect(similar.count == 7 && similar.allSatisfy { $0["user"] as? String != own[0]["user"] as? String })
        let values = similar.compactMap { $0["similarity"] as? Double }
        #expect(values == values.sorted(by: >) && values.allSatisfy { $0 > 0.5 && $0 <= 1 })
        let text = await attune("bank", "similar", "red 3", file)
        #expect(text.output.hasPrefix("Like episode ") && text.output.split(separator: "\n").count == 7)

        let strategies = try #require(
            try await json("bank", "strategy", "ranking", file)["strategies"] as? [[String: Any]])
        #expect(strategies.count == 1 && strategies[0]["start"] is String && strategies[0]["episodes"] as? Int ?? 0 > 0)
        #expect(await attune("bank", "strategy", "ranking", file).output.contains("start"))
        let none = await attune("bank", "strategy", "target", file)
        #expect(none.code == .success && none.output == "The bank knows nothing of adapters that learn from target.\n")
    }

    @Test func whoIsForgottenIsTakenOutOfTheBankAndOfThoseWhoStartedFromIt() async throws {
        let folder = try TestFolder()
        let file = folder("a.db")
        try await made(file)
        #expect(await attune("consolidate", file).code == .success)
        let storage = try await SQLiteStorage(path: file)
        var configuration = EngineConfiguration(dimension: 32, rank: 4)
        configuration.reasoning.deadline = .seconds(60)
        configuration.reasoningBank = try await SQLiteReasoningBank(storage)
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        for user in ["zoe", "max"] { try await engine.createAdapter(for: user) }
        let before = try #require(try await engine.adapter(for: "zoe"))
        #expect(before.startedFrom != nil)
        _ = try await engine.shutdown()
        await storage.close()

        let wrong = await attune("forget", file, "--user", "red 3", "--feedback", "x", "--replay-starters")
        #expect(wrong.code == .usage && wrong.errors.contains("'--replay-starters' goes with a whole user"))
        let receipt = try object(await attune("forget", file, "--user", "red 3", "--format", "json"))
        #expect(receipt["removed_episodes"] as? Int == 2 && receipt["skills_made_again"] as? Int == 2)
        let stale = try #require(receipt["stale_priors"] as? [[String: Any]])
        #expect(stale.contains { $0["users"] as? [String] == ["max", "zoe"] })
        #expect(receipt["made_again"] == nil)
        // What was listed only is made up for, from nothing: what was made in the start's place is known no more.
        let next = try object(
            await attune("forget", file, "--user", "blue 3", "--replay-starters", "--format", "json"))
        #expect(
            next["made_again"] as? [String] == ["max", "zoe"] && (next["not_made_again"] as? [Any])?.isEmpty == true)
        #expect(next["adapters_made_again"] as? Int == 2 && next["erased"] as? Bool == true)
        #expect(next["made_again_from_nothing"] as? Int == 2)
        let reader = try await SQLiteStorage(path: file, access: .reading)
        let after = try #require(try await reader.load("zoe")?.adapter)
        #expect(after.version == before.version + 1 && after.startedFrom == nil)
        await reader.close()
        let verified = await attune("verify", file)
        #expect(verified.code == .success && verified.output.contains("A bank of 39 episodes and 2 skills."))
        let text = await attune("forget", file, "--user", "red 4", "--replay-starters")
        #expect(text.code == .success && text.output.contains(/adapters_made_again +0\n/))
    }

    @Test func whoseAdapterIsDamagedGivesNothingAndKeepsNobodyElseFromIt() async throws {
        let folder = try TestFolder()
        let file = folder("a.db")
        try await made(file)
        #expect(await attune("consolidate", file).code == .success)
        let storage = try await SQLiteStorage(path: file)
        try await storage.writing("test") { connection in
            for statement: StaticString in [
                "UPDATE adapters SET snapshot = x'01' WHERE user = (SELECT ref FROM users WHERE id = CAST('red 5' AS BLOB))",
                "UPDATE bases SET snapshot = x'01' WHERE user = (SELECT ref FROM users WHERE id = CAST('red 5' AS BLOB))",
            ] { try connection.run(statement) }
        }
        await storage.close()
        let forgotten = await attune("forget", file, "--user", "red 3", "--format", "json")
        #expect(forgotten.errors.contains("1 adapters are damaged and gave nothing: 'red 5'."), "\(forgotten.errors)")
        #expect(try object(forgotten)["skills_made_again"] as? Int == 2)
        let again = await attune("consolidate", file, "--format", "json")
        #expect(again.errors.contains("'red 5'"))
        #expect((try object(again)["updated"] as? [Any])?.count == 2, "\(again.output)\(again.errors)")
    }

    @Test func whoIsForgottenIsGoneAlsoWhereTheBankCannotBeOpened() async throws {
        let folder = try TestFolder()
        let file = folder("a.db")
        try await made(file)
        let document = folder("red.json")
        #expect(await attune("export", file, "--user", "red 3", "--as", "json", "--to", document).code == .success)
        let exported = try #require(
            try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: document))) as? [String: Any])
        let episodes = try #require(exported["episodes"] as? [[String: Any]])
        #expect(episodes.count == 2 && (episodes[0]["taste"] as? [Any])?.count == AdaptationContext.tasteDimension)
        #expect(await attune("consolidate", file).code == .success)
        var storage = try await SQLiteStorage(path: file)
        try await storage.writing("test") { try $0.run("UPDATE skills SET content = x'01'") }
        await storage.close()
        let run = await attune("forget", file, "--user", "red 3")
        #expect(run.code == .badData && run.errors.contains("are gone, and later ones are refused"), "\(run.errors)")
        #expect(run.errors.contains("Of their episodes there 2 more were removed."), "\(run.errors)")
        storage = try await SQLiteStorage(path: file, access: .reading)
        #expect(try await storage.bankEpisodes(of: storage.bankKey.digest(of: "red 3")).isEmpty)
        await storage.close()
    }

    @Test func aBankThatCannotBeReadIsNotClean() async throws {
        let folder = try TestFolder()
        let file = folder("a.db")
        try await made(file)
        let clean = try object(await attune("verify", file, "--format", "json"))
        #expect(clean["episodes"] as? Int == 43 && (clean["bank_faults"] as? [Any])?.isEmpty == true)
        let storage = try await SQLiteStorage(path: file)
        try await storage.writing("test") { try $0.run("UPDATE episodes SET content = x'01FF' WHERE id = 3") }
        await storage.close()
        let verified = await attune("verify", file)
        #expect(verified.code == .mismatch && verified.errors.contains("The bank can't be read: restore a backup."))
        #expect(verified.output.contains("BANK ") && !verified.output.contains("Clean"), "\(verified.output)")
    }

    @Test func whatABankDoesNotHoldIsSaid() async throws {
        let folder = try TestFolder()
        let file = folder("a.db")
        let missing = await attune("bank", "stats", file)
        #expect(missing.code == .noInput)
        try await Shop().make(file, users: ["ada"])
        for arguments in [["stats"], ["skills"], ["episodes"], ["strategy", "ranking"]] {
            let empty = await attune(arguments: ["bank"] + arguments + [file])
            #expect(empty.code == .success && empty.errors.isEmpty, "\(arguments)")
        }
        let nobody = await attune("bank", "similar", "ada", file)
        #expect(nobody.code == .badData && nobody.errors.contains("no episode of the user 'ada'"))
        let nothing = await attune("consolidate", file)
        #expect(nothing.code == .success && nothing.output.hasPrefix("0 episodes with an outcome, of 0 users.\n"))
        for (option, value) in [("--minimum-uses", "0"), ("--minimum-success-rate", "1.5"), ("--lookback-days", "-1")] {
            let wrong = await attune("consolidate", file, option, value)
            #expect(wrong.code == .usage && wrong.errors.contains(option))
        }
    }
}
