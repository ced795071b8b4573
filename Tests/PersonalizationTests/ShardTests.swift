import LoRA
import TensorCore
import TestSupport
import Testing

@testable import Personalization

/// The places of a shard's users: users whose hashes collide, places that are used again, ids that only look alike.
@Suite(.timeLimit(.minutes(10)))
struct ShardTests {
    // MARK: - Collisions

    /// Users come and go at random and are found all the same, whether or not others have their hash.
    @Test(arguments: [1, 2, 7, 1_000])
    func usersAreFoundWhateverOthersHaveTheirHash(hashes: Int) throws {
        let seed: UInt64 = 662_607
        let script = try Script(dimension: 5, rank: 1)
        var generator = PhiloxGenerator(seed: seed, stream: UInt64(hashes))
        let keys = (0..<40).map { UserKey("user \($0)", hash: $0 % hashes) }
        let adapters = try keys.map { try script.cold($0.user) }
        let handles = keys.map { UserHandle($0) }
        var state = ShardState()
        var holders = [Int](repeating: 0, count: keys.count)
        var held = [Bool](repeating: false, count: keys.count)
        var pinned = held
        for operation in 0..<underSanitizer(400, otherwise: 4_000) {
            let i = generator.integer(below: keys.count)
            let comment: Comment = "seed \(seed), \(hashes) hashes, operation \(operation), user \(i)"
            switch generator.integer(below: 9) {
            case 0, 1:
                _ = state.joinLine(keys[i])
                holders[i] += 1
            case 2, 3:
                if holders[i] > 0 {
                    state.leaveLine(keys[i])
                    holders[i] -= 1
                } else if let place = state.place(of: keys[i]) {
                    state.removeIfIdle(place)
                }
            case 4:
                if holders[i] > 0 {
                    _ = state.withSlot(keys[i]) { $0.adapter = adapters[i] }
                    held[i] = true
                }
            case 5:
                let pin = generator.integer(below: 4) == 0
                if state.withSlot(keys[i], { $0.isPinned = pin }) != nil { pinned[i] = pin }
            default:
                if let place = state.place(of: keys[i]) {
                    state.withPlace(place) { $0.adapter = nil }
                    state.removeIfIdle(place)
                }
                held[i] = false
            }
            // A slot is where somebody is in line, or something is held, or a pin waits; no others but those.
            func isExpected(_ i: Int) -> Bool { holders[i] > 0 || held[i] || pinned[i] }
            if !isExpected(i), let place = state.place(of: keys[i]) { state.removeIfIdle(place) }
            #expect(state.slotCount == keys.indices.count(where: isExpected), comment)
            for j in keys.indices {
                let place = state.place(of: keys[j])
                #expect((place != nil) == isExpected(j), comment)
                #expect(state.place(of: handles[j]) == place, comment)
                guard let place else { continue }
                #expect(state.isPlace(place, of: keys[j]) && state.isInUse(place), comment)
                state.withPlace(place) { slot in
                    #expect(slot.user == keys[j].user && Int(slot.holders) == holders[j], comment)
                    #expect((slot.adapter != nil) == held[j] && slot.isPinned == pinned[j], comment)
                }
            }
        }
        print("shard: seed \(seed), \(hashes) hashes: \(state.slotCount) slots at the end")
    }

    /// First, last and middle of a chain of equal hashes leave, in every order.
    @Test func aChainHoldsInWhateverOrderItsUsersLeave() {
        let keys = (0..<4).map { UserKey("\($0)", hash: 99) }
        func permutations(_ rest: [Int]) -> [[Int]] {
            rest.isEmpty ? [[]] : rest.flatMap { i in permutations(rest.filter { $0 != i }).map { [i] + $0 } }
        }
        for order in permutations([0, 1, 2, 3]) {
            var state = ShardState()
            for key in keys { _ = state.joinLine(key) }
            for (n, i) in order.enumerated() {
                state.leaveLine(keys[i])
                for j in keys.indices {
                    #expect((state.place(of: keys[j]) == nil) == order[...n].contains(j), "\(order), \(n), \(j)")
                }
            }
            #expect(state.slotCount == 0)
            // And comes back.
            for key in keys { _ = state.joinLine(key) }
            for key in keys { #expect(state.place(of: key) != nil) }
            #expect(state.slotCount == 4)
        }
    }

    // MARK: - Places

    @Test func aPlaceThatAnotherUserHasTakenIsNotTheHandlesAnyMore() {
        var state = ShardState()
        let (ada, bob) = (UserKey("ada", hash: 3), UserKey("bob", hash: 3))
        let handle = UserHandle(ada)
        #expect(state.place(of: handle) == nil && handle.place == -1)
        _ = state.joinLine(ada)
        let first = state.place(of: handle) ?? -2
        #expect(handle.place == first)
        state.leaveLine(ada)
        #expect(state.place(of: handle) == nil)
        _ = state.joinLine(bob)
        #expect(state.place(of: bob) == first, "the place was free")
        #expect(state.place(of: handle) == nil && !state.isPlace(first, of: ada))
        _ = state.joinLine(ada)
        let second = state.place(of: handle) ?? -2
        #expect(second >= 0 && second != first && handle.place == second)
        #expect(!state.isPlace(-1, of: ada) && !state.isPlace(1_000_000, of: ada) && !state.isPlace(2, of: ada))
        #expect(state.isInUse(first) && state.isInUse(1_000_000) == false)
    }

    @Test(arguments: [0, 1, 7, 8, 9, 23, 24, 247, 248, 249, 503, 504, 505, 1_000])
    func anArrayInChunksIsAnArray(count: Int) {
        var chunked = ChunkedArray<Int>()
        for i in 0..<count { chunked.append(i * 7) }
        #expect(chunked.count == count)
        for i in 0..<count { chunked.lend(i) { $0 += i % 3 } }
        for i in 0..<count { #expect(chunked.lend(i) { $0 } == i * 7 + i % 3) }
    }

    @Test func anArrayInChunksLetsGoOfItsElements() {
        final class Element {}
        weak var one: Element?
        do {
            var chunked = ChunkedArray<Element>()
            for _ in 0..<300 { chunked.append(Element()) }
            one = chunked.lend(299) { $0 }
            #expect(one != nil)
        }
        #expect(one == nil)
    }

    // MARK: - Ids

    @Test func idsAreEqualWhenTheirBytesAre() {
        // The second and third are the same to Swift, and so are the fourth and fifth.
        let users = ["", "é", "e\u{301}", "Å", "\u{212B}", "e", "ée\u{301}", "a\0b", "a\0c", "😀"]
        for (i, one) in users.enumerated() {
            for (j, other) in users.enumerated() {
                let (a, b) = (UserKey(one), UserKey(other))
                #expect((a == b) == (i == j) && a.hasBytes(of: other) == (i == j), "\(i), \(j)")
                #expect(i == j ? a.hash == b.hash : a.hash != b.hash)
                // And when the hashes collide.
                #expect((UserKey(one, hash: 1) == UserKey(other, hash: 1)) == (i == j))
                #expect((a < b) == Array(one.utf8).lexicographicallyPrecedes(Array(other.utf8)))
            }
        }
        #expect(Set(users.map { UserKey($0) }).count == users.count)
    }

    @Test func usersWhoseIdsOnlyLookAlikeAreTwo() async throws {
        let script = try Script()
        let engine = try script.engine(limit: 1)
        let users = ["Zoe\u{308}", "Zo\u{EB}"]
        #expect(users[0] == users[1])
        let handles = try users.map { try engine.handle(for: $0) }
        let batch = script.batch("zoë", 0)
        try await engine.updateAdapter(for: handles[0], with: batch)
        #expect(try await engine.pin(users[0]))
        var row: [Float] = []
        #expect(try await !engine.personalize(script.probe(), for: handles[1], into: &row).isPersonalized)
        #expect(try await engine.prefetch(users) == 1)
        try await engine.updateAdapter(for: handles[1], with: batch)
        engine.unpin(users[1])
        try await engine.createAdapter(for: "other")
        // Only the first is pinned.
        #expect(engine.residents.count == 2 && engine.statistics().evicted == 1)
        let states = [try await engine.adapter(for: users[0]), try await engine.adapter(for: users[1])]
        #expect(states[0]?.version == 1 && states[1]?.version == 1)
        #expect(states[0]?.stateHash != states[1]?.stateHash, "seeded by the bytes")
        #expect(try await engine.users().count == 3)
        engine.expectExactCount()
    }
}
