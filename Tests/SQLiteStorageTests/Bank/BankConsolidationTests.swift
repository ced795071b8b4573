import LoRA
import Personalization
import Reasoning
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import SQLiteStorage

@Suite("Consolidation of a bank in a file", .timeLimit(.minutes(10)))
struct BankConsolidationTests {
    let clock = StillClock(now: Timestamp(microseconds: 1_800_000_000_000_000))
    let policy = ConsolidationPolicy()

    private func donors() throws -> PlantedDonors {
        try PlantedDonors(
            EpisodeBuilder.dayBefore(clock.now),
            [
                .init(name: "a", taste: 3, users: 12, gain: 0.3), .init(name: "b", taste: 20, users: 9, gain: 0.2),
                .init(name: "c", taste: 40, users: 8, gain: 0.25),
            ])
    }

    /// Every donor's adapter that is asked for is a place where it can be interrupted.
    @Test("goes on where it was interrupted, and makes the same skills")
    func resumes() async throws {
        let folder = try TemporaryFolder()
        let donors = try donors()
        let whole = try await folder.bank(clock: clock)
        try await donors.fill(whole)
        let counted = CountedDonors(donors)
        let expected = try await whole.autoConsolidate(policy, donors: counted)
        #expect(expected.created.count == 3)
        for limit in stride(from: 0, to: counted.count, by: underSanitizer(29, otherwise: 7)) {
            let path = folder.newPath()
            var bank = try await folder.bank(at: path, clock: clock)
            try await donors.fill(bank)
            await #expect(throws: CountedDonors.Stopped.self) {
                _ = try await bank.autoConsolidate(policy, donors: CountedDonors(donors, limit: limit))
            }
            let made = bank.skills
            // As after a crash: what is in the file is all that there is. It is later now, and there are new episodes.
            await bank.storage.close()
            bank = try await folder.bank(
                at: path, clock: StillClock(now: Timestamp(microseconds: clock.now.microseconds + 5)))
            #expect(bank.skills == made)
            _ = try await bank.storePattern(donors.builder.episode(user: "late", gain: 0.9))
            let rest = CountedDonors(donors)
            let report = try await bank.autoConsolidate(policy, donors: rest)
            #expect(report == expected, "interrupted at \(limit)")
            #expect(bank.skills == whole.skills && rest.count <= counted.count, "interrupted at \(limit)")
            if !made.isEmpty { #expect(rest.count < counted.count) }
            await bank.storage.close()
        }
        await whole.storage.close()
    }

    @Test("interrupted, goes on beside another project of the file, and neither takes the other's skills")
    func projectsInterrupted() async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let donors = try donors()
        func open(_ project: String) async throws -> SQLiteReasoningBank {
            try await SQLiteReasoningBank(try await SQLiteStorage(path: path, project: project), clock: clock)
        }
        var one = try await open("one")
        try await donors.fill(one)
        await #expect(throws: CountedDonors.Stopped.self) {
            _ = try await one.autoConsolidate(policy, donors: CountedDonors(donors, limit: 90))
        }
        #expect(try await plans(one) > 0)
        await one.storage.close()
        let two = try await open("two")
        try await donors.fill(two)
        let other = try await two.autoConsolidate(policy, donors: donors)
        #expect(other.created.count == 3)
        await two.storage.close()
        one = try await open("one")
        let own = try await one.autoConsolidate(policy, donors: donors)
        #expect(own.created.count == 3)
        #expect(Set(own.created.map(\.id)).isDisjoint(with: other.created.map(\.id)))
        await one.storage.close()
        let again = try await open("two")
        #expect(again.skills == other.created.sorted { $0.id < $1.id })
        await again.storage.close()
    }

    @Test("begins anew where the policy is another, or an episode is gone")
    func beginsAnew() async throws {
        let folder = try TemporaryFolder()
        let donors = try donors()
        let bank = try await folder.bank(clock: clock)
        try await donors.fill(bank)
        func interrupt() async throws {
            await #expect(throws: CountedDonors.Stopped.self) {
                _ = try await bank.autoConsolidate(policy, donors: CountedDonors(donors, limit: 40))
            }
            #expect(try await plans(bank) > 0)
        }
        try await interrupt()
        var other = policy
        other.minimumUsers = 6
        #expect(try await bank.autoConsolidate(other, donors: donors).users == 29)
        #expect(try await plans(bank) == 0)
        try await interrupt()
        _ = try await bank.forget(donors.digest("a 0"), donors: donors)
        #expect(try await plans(bank) == 0)
        let report = try await bank.autoConsolidate(policy, donors: donors)
        #expect(report.users == 28 && report.created.isEmpty && report.updated.count == 3)
        await bank.storage.close()
    }

    private func plans(_ bank: SQLiteReasoningBank) async throws -> Int64 {
        try await bank.storage.reading("test") { try $0.integer("SELECT count(*) FROM consolidation_plans") ?? -1 }
    }

    @Test("a dry run changes nothing")
    func dryRun() async throws {
        let folder = try TemporaryFolder()
        let donors = try donors()
        let bank = try await folder.bank(clock: clock)
        try await donors.fill(bank)
        let report = try await bank.consolidate(policy, donors: donors, isDryRun: true)
        #expect(report.created.count == 3 && bank.skills.isEmpty)
        #expect(try await plans(bank) == 0)
        let real = try await bank.consolidate(policy, donors: donors)
        #expect(real == report)
        await bank.storage.close()
    }

    @Test("forgetting a donor leaves what a bank has that never saw them, to the byte")
    func forgetting() async throws {
        let folder = try TemporaryFolder()
        let donors = try donors()
        for name in ["a 3", "b 8", "c 0"] {
            let user = donors.digest(name)
            let banks = (try await folder.bank(clock: clock), try await folder.bank(clock: clock))
            try await donors.fill(banks.0)
            try await donors.fill(banks.1, without: user)
            _ = try await banks.0.autoConsolidate(policy, donors: donors)
            _ = try await banks.1.autoConsolidate(policy, donors: donors)
            let report = try await banks.0.forget(user, donors: donors)
            #expect(report.episodes == 2 && report.rederived.count == 3 && report.populationRederived)
            #expect(report.stalePriors.count >= 4)
            var contents: [[String]] = []
            for bank in [banks.0, banks.1] {
                contents.append(
                    try await bank.storage.reading("test") { connection in
                        var rows: [String] = []
                        func take(_ row: Row) { rows.append("\(row.bytes(0)) \(row.bytes(1))") }
                        // Skills are numbered by their first users, who may be the one.
                        try connection.run("SELECT content, '' FROM skills", [], take)
                        try connection.run("SELECT content, '' FROM populations", [], take)
                        try connection.run("SELECT user, content FROM trials", [], take)
                        try connection.run("SELECT bytes, '' FROM contents", [], take)
                        try connection.run("SELECT donor, '' FROM donors", [], take)
                        try connection.run("SELECT user, content FROM episodes", [], take)
                        return rows.sorted()
                    })
            }
            #expect(contents[0] == contents[1] && contents[0].count > 100)
            for bank in [banks.0, banks.1] { await bank.storage.close() }
        }
    }

    @Test("users who were forgotten while it was closed are forgotten when it is opened")
    func forgetsLate() async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        var builder = EpisodeBuilder.dayBefore(clock.now)
        builder.key = try #require(storage.digestKey)
        let donors = try PlantedDonors(builder, [.init(name: "a", taste: 3, users: 12, gain: 0.3)])
        var bank = try await SQLiteReasoningBank(storage, clock: clock)
        try await donors.fill(bank)
        _ = try await bank.autoConsolidate(policy, donors: donors)
        #expect(bank.skills.count == 1)
        // As an engine without a bank does it.
        _ = try await storage.removeEntries(of: "a 4", isForgotten: true)
        await storage.close()
        bank = try await folder.bank(at: path, clock: clock)
        let user = donors.digest("a 4")
        #expect(try await bank.episodes(of: user).isEmpty)
        #expect(bank.episodeCount == 22 && bank.skills.isEmpty)
        await #expect { _ = try await bank.storePattern(builder.episode(user: "a 4", version: 9)) } throws: { error in
            (error as? ReasoningError)?.code == .forgottenUser
        }
        _ = try await bank.autoConsolidate(policy, donors: donors)
        #expect(bank.skills.map(\.donors.count) == [11])
        await bank.storage.close()
    }
}
