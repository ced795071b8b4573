internal import Personalization

extension FeedbackJournalRun {
    func checkPositions() async throws {
        let journal = try await makeJournal()
        func at(_ sequence: Int64, in stream: String = "a stream") -> StreamPosition {
            StreamPosition(stream: stream, sequence: sequence)
        }
        expect("a stream that nobody has read is at 0", try await journal.position(in: "a stream"), is: 0)
        let id = FeedbackID("known")
        for (durability, version) in [(Durability.buffered, UInt64(1)), (.synced, 2)] {
            _ = try await journal.append(
                entry("ada", version, id: version == 1 ? id : nil), durability: durability,
                position: at(Int64(version) * 10))
            expect(
                "a position is kept with an entry", try await journal.position(in: "a stream"),
                is: Int64(version) * 10)
        }
        expect("a stream is told from others", try await journal.position(in: "a strea"), is: 0)
        do {
            _ = try await journal.append(entry("ada", 2), durability: .buffered, position: at(30))
            expect("an entry that is stale is refused", true, is: false)
        } catch let error as EngineError where error.code == .staleVersion {}
        expect("no position of an entry that is refused is kept", try await journal.position(in: "a stream"), is: 20)
        let again = try await journal.append(entry("ada", 3, id: id), durability: .buffered, position: at(40))
        expect("an id is known", again, is: .duplicate)
        expect("the position of a known entry is kept", try await journal.position(in: "a stream"), is: 40)
        _ = try await journal.append(entry("ada", 3, id: id), durability: .buffered, position: at(15))
        expect("it does not go back for a known entry", try await journal.position(in: "a stream"), is: 40)
        _ = try await journal.append(entry("bob", 1), durability: .buffered, position: at(15))
        expect("it goes back with a new one", try await journal.position(in: "a stream"), is: 15)
        for sequence in [40, -5, 39] as [Int64] {
            try await journal.record(at(sequence), durability: .buffered)
            expect("what is recorded counts", try await journal.position(in: "a stream"), is: sequence)
        }
        // The last two are equal as Swift's strings.
        for (sequence, name) in ["\u{0}ż", "\u{0}", "é", "e\u{301}"].enumerated() {
            try await journal.record(at(.max - Int64(sequence), in: name), durability: .synced)
        }
        expect("names are told apart by their bytes", try await journal.position(in: "é"), is: .max - 2)
        expect("any name will do", try await journal.position(in: "\u{0}ż"), is: .max)
        _ = try await journal.removeEntries(of: "ada", isForgotten: true)
        expect("a position stays when users are forgotten", try await journal.position(in: "a stream"), is: 39)
        let forgotten = try await journal.append(entry("ada", 4), durability: .buffered, position: at(50))
        expect("who was forgotten is refused", forgotten, is: .forgottenUser)
        expect("the position of what is refused for good is kept", try await journal.position(in: "a stream"), is: 50)
    }
}
