internal import LoRA
internal import Personalization

// Whose adapters are in priors, who started from them, and what becomes of both.

extension FeedbackJournalRun {
    func checkPriors() async throws {
        let journal = try await makeJournal()
        func prior(_ hash: UInt64, _ version: UInt64, isStale: Bool = false, _ starters: [String] = []) -> DerivedPrior
        {
            DerivedPrior(hash: hash, version: version, isStale: isStale, starters: starters)
        }
        expect("an empty journal knows no donors", try await journal.priors(from: "ada"), is: [])
        expect("what is unknown is not stale", try await journal.isStale(1), is: false)
        expect("who starts from the unknown may", try await journal.recordStart(of: "zoe", from: 1), is: true)
        for version: UInt64 in 1...3 {
            _ = try await journal.append(entry("ada", version, id: FeedbackID("\(version)")), durability: .buffered)
        }
        let donors = [PriorDonor(user: "ada", version: 3), PriorDonor(user: "bob", version: 7)]
        try await journal.recordDonors(donors, of: .max)
        try await journal.recordDonors([PriorDonor(user: "ada", version: 2)], of: .max)
        try await journal.recordDonors([PriorDonor(user: "ada", version: 1)], of: 1)
        for user in ["zoe", "dan"] {
            expect("who starts from a prior may", try await journal.recordStart(of: user, from: .max), is: true)
        }
        expect(
            "donors and starters come back, also who started before, of a prior's donor the highest version",
            try await journal.priors(from: "ada"), is: [prior(1, 1, ["zoe"]), prior(.max, 3, ["dan", "zoe"])])
        expect("donors are told apart", try await journal.priors(from: "bob"), is: [prior(.max, 7, ["dan", "zoe"])])

        try await journal.rewrite(
            JournalRewriting(
                removed: entry("ada", 2, id: FeedbackID("2")), replacement: nil, correction: entry("ada", 4),
                adapter: try adapter("ada", 4)))
        expect("what had learned the feedback is stale", try await journal.isStale(.max), is: true)
        expect("what had not is fit", try await journal.isStale(1), is: false)
        expect("nobody starts from a stale prior", try await journal.recordStart(of: "eve", from: .max), is: false)

        _ = try await journal.removeEntries(of: "dan", isForgotten: false)
        _ = try await journal.removeEntries(of: "ada", isForgotten: false)
        expect(
            "removed users start from nothing, and can be forgotten still", try await journal.priors(from: "ada"),
            is: [prior(1, 0, ["zoe"]), prior(.max, 0, isStale: true, ["zoe"])])
        expect("who is removed makes nothing stale", try await journal.isStale(1), is: false)
        _ = try await journal.removeEntries(of: "ada", isForgotten: true)
        expect("a forgotten donor is not known", try await journal.priors(from: "ada"), is: [])
        expect("a forgotten donor's priors are stale", try await journal.isStale(1), is: true)
        expect("and stay so", try await journal.isStale(.max), is: true)

        try await journal.recordDonors(
            [PriorDonor(user: "ada", version: 1), PriorDonor(user: "eve", version: 1)], of: 2)
        expect("who was forgotten is not recorded", try await journal.priors(from: "ada"), is: [])
        expect("and what they are in is stale", try await journal.priors(from: "eve"), is: [prior(2, 1, isStale: true)])
        try await journal.recordDonors([PriorDonor(user: "eve", version: 1)], of: 3)
        expect("a start is not refused", try await journal.recordStart(of: "ada", from: 3), is: true)
        expect("but nothing names who was forgotten", try await journal.priors(from: "eve").last, is: prior(3, 1))
    }

    func checkStarts() async throws {
        let journal = try await makeJournal()
        let content = JournalContent(kind: .prior, hash: 5, bytes: [1, 2, 3])
        try await journal.keep(content)
        try await journal.recordDonors([PriorDonor(user: "ada", version: 1)], of: 5)
        for user in ["zoe", "dan"] {
            for version: UInt64 in 1...3 {
                _ = try await journal.append(entry(user, version, id: FeedbackID("\(version)")), durability: .buffered)
            }
            expect("who starts from a prior may", try await journal.recordStart(of: user, from: 5), is: true)
        }
        expect("nothing is stale at first", try await journal.stalePriors(), is: [])
        _ = try await journal.removeEntries(of: "ada", isForgotten: true)
        let stale = StalePrior(hash: 5, users: ["dan", "zoe"])
        expect("stale priors have their starters", try await journal.stalePriors(), is: [stale])
        func rewriting(_ user: String, _ versions: [UInt64], last: UInt64) throws -> JournalRewriting {
            let replacements = versions.map { version -> JournalEntry in
                var entry = entry(user, version, id: FeedbackID("\(version)"))
                entry.action = [9]
                return entry
            }
            return JournalRewriting(
                replacements: replacements, abandoned: [5], correction: entry(user, last),
                adapter: try adapter(user, last))
        }
        let error = try await found.failure("all replaced entries must be there", of: "versions 1 and 7") {
            try await journal.rewrite(try rewriting("zoe", [1, 7], last: 8))
        }
        expect("all replaced entries must be there", (error as? EngineError)?.code, is: .unknownFeedback)
        expect("a refused rewriting changes nothing", try await journal.stalePriors(), is: [stale])
        expect(
            "nor any entry", try await journal.entries(of: "zoe", after: 0).first,
            is: entry("zoe", 1, id: FeedbackID("1")))
        let whole = try rewriting("zoe", [1, 3], last: 4)
        try await journal.rewrite(whole)
        expect(
            "entries are replaced, the others stay", try await journal.entries(of: "zoe", after: nil),
            is: [whole.replacements[0], entry("zoe", 2, id: FeedbackID("2")), whole.replacements[1], entry("zoe", 4)])
        let again = try await journal.append(entry("zoe", 5, id: FeedbackID("3")), durability: .buffered)
        expect("their ids stay known", again, is: .duplicate)
        expect("who started from another is named no more", try await journal.stalePriors().map(\.users), is: [["dan"]])
        expect("a prior stays for those who are left", try await journal.content(.prior, 5), is: content.bytes)
        try await journal.rewrite(try rewriting("dan", [1], last: 4))
        expect("it goes with the last of them", try await journal.content(.prior, 5), is: nil)
        let other = JournalContent(kind: .prior, hash: 6, bytes: [4])
        try await journal.keep(other)
        try await journal.recordDonors([PriorDonor(user: "bob", version: 1)], of: 6)
        expect("who starts from another may", try await journal.recordStart(of: "zoe", from: 6), is: true)
        _ = try await journal.removeEntries(of: "bob", isForgotten: true)
        _ = try await journal.removeEntries(of: "zoe", isForgotten: false)
        expect("it goes with the last who is removed", try await journal.content(.prior, 6), is: nil)
        expect("nobody starts from it any more", try await journal.recordStart(of: "eve", from: 5), is: false)
    }
}
