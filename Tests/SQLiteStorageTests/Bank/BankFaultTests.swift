import LoRA
import Reasoning
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import SQLiteStorage

@Suite("Damage to a bank in a file", .timeLimit(.minutes(10)))
struct BankFaultTests {
    @Test("an episode comes back as it was, and nothing but an episode is taken for one", arguments: 1...4)
    func coding(seed: Int) {
        var generator = PhiloxGenerator(seed: UInt64(seed), purpose: .general)
        for _ in 0..<underSanitizer(20, otherwise: 100) {
            var builder = EpisodeBuilder()
            builder.dimension = 1 + generator.integer(below: 2000)
            let taste = generator.bernoulli(0.3) ? [] : (0..<64).map { _ in Float(generator.normal()) }
            var episode = builder.episode(
                user: "\(generator.integer(below: 9))", version: 1 + generator.next() % 1000, taste: taste,
                gain: generator.bernoulli(0.5) ? generator.normal() : nil, reward: generator.uniformDouble())
            if generator.bernoulli(0.5) { episode.context.initialization = PriorID(generator.next()) }
            if generator.bernoulli(0.5) { episode.action.initialization = PriorID(generator.next()) }
            episode.context.seen = Int(generator.next() >> 30)
            episode.context.drift = Float(generator.normal())
            episode.latency = Int64(generator.next() >> 1)
            episode.critique = String(repeating: "é", count: generator.integer(below: 300))
            let bytes = episode.encoded()
            func decoded(_ bytes: [UInt8]) -> Episode? {
                Episode(
                    encoded: bytes, user: episode.user, version: episode.version, recordedAt: episode.recordedAt,
                    kind: AdapterKind(episode.context))
            }
            #expect(decoded(bytes) == episode, "seed \(seed)")
            for _ in 0..<10 {
                let cut = generator.integer(below: bytes.count)
                #expect(decoded(Array(bytes.prefix(cut))) == nil, "seed \(seed)")
                #expect(decoded(bytes + [0]) == nil)
                var flipped = bytes
                flipped[cut] ^= 1 << UInt8(generator.integer(below: 8))
                // Whatever it is, it is none that a bank would have refused.
                if let other = decoded(flipped) { #expect(throws: Never.self) { try other.validate() } }
            }
        }
    }

    @Test("content that is none is found by verifying, and refused when the bank is opened")
    func impossibleContent() async throws {
        let statements: [StaticString] = [
            "UPDATE episodes SET content = x'01FF' WHERE id = 3", "UPDATE episodes SET user = x'01' WHERE id = 2",
            "UPDATE episodes SET kind = 77 WHERE id = 2", "UPDATE bank_kinds SET objective = x'AA'",
            "UPDATE skills SET content = x'01'", "UPDATE populations SET content = x'0100'",
            "UPDATE contents SET bytes = x'00' WHERE kind = 1", "DELETE FROM contents",
            "UPDATE trials SET user = x'' WHERE user = (SELECT min(user) FROM trials)",
            "UPDATE sqlite_sequence SET seq = -1 WHERE name = 'skills'",
        ]
        let folder = try TemporaryFolder()
        let clock = StillClock(now: Timestamp(microseconds: 1_800_000_000_000_000))
        let donors = try PlantedDonors(
            EpisodeBuilder.dayBefore(clock.now), [.init(name: "a", taste: 3, users: 12, gain: 0.3)])
        for statement in statements {
            let path = folder.newPath()
            let bank = try await folder.bank(at: path, clock: clock)
            try await donors.fill(bank)
            _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: donors)
            let clean = try await bank.storage.verifyBank()
            #expect((clean.episodes, clean.skills) == (bank.episodeCount, 1) && clean.faults.isEmpty)
            try await bank.storage.writing("test") { try $0.run(statement) }
            #expect(try await bank.storage.verifyBank().faults.isEmpty == false)
            await bank.storage.close()
            let storage = try await SQLiteStorage(path: path)
            await #expect {
                _ = try await SQLiteReasoningBank(storage, clock: clock)
            } throws: { error in
                (error as? StorageError)?.code == .damaged
            }
            await storage.close()
        }
    }

    @Test("sums that no episodes have are found by verifying, and forgetting refuses them")
    func impossibleSums() async throws {
        let folder = try TemporaryFolder()
        let clock = StillClock(now: Timestamp(microseconds: 1_800_000_000_000_000))
        let donors = try PlantedDonors(
            EpisodeBuilder.dayBefore(clock.now), [.init(name: "a", taste: 3, users: 12, gain: 0.3)])
        // One episode with a gain of 2⁶³ − 1; 2⁶² episodes; and a skill's plan with the number 2⁶⁴ − 1.
        let statements: [StaticString] = [
            "UPDATE trials SET content = x'01FFFFFFFFFFFFFF7F000000000000000000'",
            "UPDATE trials SET content = x'8080808080808080400000000000000000000000000000000000'",
        ]
        for statement in statements {
            let bank = try await folder.bank(at: folder.newPath(), clock: clock)
            try await donors.fill(bank)
            _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: donors)
            try await bank.storage.writing("test") { try $0.run(statement) }
            #expect(try await bank.storage.verifyBank().faults.count == 1)
            await #expect {
                _ = try await bank.forget(donors.digest("a 3"), donors: donors)
            } throws: { error in
                (error as? StorageError)?.code == .damaged
            }
            await bank.storage.close()
        }
        #expect(KindPlan(encoded: [0, 0, 0, 1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0]) == nil)
        #expect(KindPlan(encoded: [0, 0, 0, 1, 1, 7, 0])?.newSkills == [SkillID(7)])
    }

    @Test("a bank that was opened for reading answers, and stores nothing")
    func reading() async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let writing = try await folder.bank(at: path)
        let builder = EpisodeBuilder()
        for version in 1...5 {
            _ = try await writing.storePattern(builder.episode(user: "ada", version: UInt64(version)))
        }
        let storage = try await SQLiteStorage(path: path, access: .reading)
        let bank = try await SQLiteReasoningBank(storage)
        #expect(bank.episodeCount == 5)
        #expect(try await bank.retrievePatterns(PatternQuery(context: builder.context())).count == 5)
        for call in 0..<3 {
            await #expect {
                switch call {
                case 0: _ = try await bank.storePattern(builder.episode(user: "bob"))
                case 1: _ = try await bank.forget(builder.key.digest(of: "ada"), donors: NoDonors())
                default: _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: NoDonors())
                }
            } throws: { error in
                (error as? StorageError)?.code == .readOnly
            }
        }
        await storage.close()
        await writing.storage.close()
    }

    @Test("a storage that writes has one bank at a time")
    func one() async throws {
        let folder = try TemporaryFolder()
        let storage = try await SQLiteStorage(path: folder.newPath())
        let builder = EpisodeBuilder()
        for version: UInt64 in 1...2 {
            // Let go of at the end of each round.
            let bank = try await SQLiteReasoningBank(storage)
            _ = try await bank.storePattern(builder.episode(user: "ada", version: version))
            await #expect {
                _ = try await SQLiteReasoningBank(storage)
            } throws: { error in
                (error as? StorageError)?.code == .inUse
            }
            #expect(bank.episodeCount == Int(version))
        }
        await storage.close()
    }

    @Test("projects of one file never see each other's episodes")
    func projects() async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let builder = EpisodeBuilder()
        for project in ["one", "two"] {
            let storage = try await SQLiteStorage(path: path, project: project)
            let bank = try await SQLiteReasoningBank(storage)
            #expect(bank.episodeCount == 0)
            _ = try await bank.storePattern(builder.episode(user: "ada"))
            #expect(bank.episodeCount == 1)
            await storage.close()
        }
        let storage = try await SQLiteStorage(path: path, project: "one")
        let bank = try await SQLiteReasoningBank(storage)
        _ = try await bank.forget(builder.key.digest(of: "ada"), donors: NoDonors())
        await storage.close()
        let other = try await SQLiteStorage(path: path, project: "two")
        #expect(try await SQLiteReasoningBank(other).episodeCount == 1)
        await other.close()
    }
}
