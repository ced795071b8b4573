import Personalization
import SQLiteStorage
import StorageTesting
import Testing

@Suite("Storage contracts")
struct ContractTests {
    @Test("SQLite's adapters keep every promise of a store")
    func adapters() async throws {
        let folder = try TemporaryFolder()
        let violations = try await AdapterStoreContract { try await folder.storage() }.violations()
        #expect(violations == [])
    }

    @Test("SQLite's journal keeps every promise of a journal")
    func journal() async throws {
        let folder = try TemporaryFolder()
        let violations = try await FeedbackJournalContract { try await folder.storage() }.violations()
        #expect(violations == [])
    }

    @Test("the journal in memory keeps every promise of a journal")
    func memory() async throws {
        let violations = try await FeedbackJournalContract { InMemoryFeedbackJournal() }.violations()
        #expect(violations == [])
    }

    @Test("projects of one file never see each other's users")
    func projects() async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let entry = JournalEntry(user: "ada", version: 1, id: FeedbackID("a"), recordedAt: 1, action: [1])
        for project in ["one", "two"] {
            let storage = try await SQLiteStorage(path: path, project: project)
            #expect(try await storage.journalledUsers() == [])
            #expect(try await storage.append(entry, durability: .synced) == .appended)
            try await storage.keep(JournalContent(kind: .prior, hash: 1, bytes: Array(project.utf8)))
            #expect(try await storage.content(.prior, 1) == Array(project.utf8))
            #expect(try await storage.priors(from: "ada").isEmpty)
            try await storage.recordDonors([PriorDonor(user: "ada", version: 1)], of: 1)
            #expect(try await storage.recordStart(of: project, from: 1))
            await storage.close()
        }
        let storage = try await SQLiteStorage(path: path, project: "one")
        #expect(try await storage.removeEntries(of: "ada", isForgotten: true) == 1)
        await storage.close()
        let other = try await SQLiteStorage(path: path, project: "two")
        #expect(try await other.entries(of: "ada", after: nil) == [entry])
        #expect(try await !other.isStale(1))
        let prior = DerivedPrior(hash: 1, version: 1, isStale: false, starters: ["two"])
        #expect(try await other.priors(from: "ada") == [prior])
        await other.close()
    }
}
