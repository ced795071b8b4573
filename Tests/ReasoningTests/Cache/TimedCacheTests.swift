import TensorCore
import TestSupport
import Testing

@testable import Reasoning

@Suite("The timed cache")
struct TimedCacheTests {
    @Test("serves what was inserted, an empty answer too, and counts")
    func servesWhatWasInserted() {
        var cache = TimedCache<String, [Int]>(capacity: 4, timeToLive: 300)
        let before = cache.value(for: "a", at: 0)
        #expect(before == nil)
        cache.insert([], for: "a", cost: 24, at: 0)
        cache.insert([1], for: "b", cost: 32, at: 0)
        let empty = cache.value(for: "a", at: 1)
        let full = cache.value(for: "b", at: 1)
        #expect(empty == [])
        #expect(full == [1])
        #expect(counts(cache) == Counts(count: 2, bytes: 56, hits: 2, misses: 1))
    }

    @Test("replaces a value, whose age begins anew")
    func replacesAValue() {
        var cache = TimedCache<String, Int>(capacity: 1, timeToLive: 10)
        cache.insert(1, for: "a", cost: 5, at: 0)
        cache.insert(2, for: "a", cost: 7, at: 9)
        let found = cache.value(for: "a", at: 18.5)
        #expect(found == 2)
        #expect(counts(cache) == Counts(count: 1, bytes: 7, hits: 1))
    }

    @Test(
        "costs sum to no more than the limit: the least recently used make room, and what alone costs more is not kept")
    func keepsToTheCostLimit() {
        var cache = TimedCache<String, Int>(capacity: 10, costLimit: 100, timeToLive: 10)
        for (key, cost) in [("a", 40), ("b", 40), ("c", 20)] { cache.insert(1, for: key, cost: cost, at: 0) }
        _ = cache.value(for: "a", at: 0)
        let isKept = cache.insert(2, for: "d", cost: 45, at: 0)
        #expect(isKept && cache.byteCount == 85 && cache.evictions == 2)
        let (a, b, c) = (cache.value(for: "a", at: 0), cache.value(for: "b", at: 0), cache.value(for: "c", at: 0))
        #expect(a == 1 && b == nil && c == nil)
        let isTooMuchKept = cache.insert(3, for: "a", cost: 101, at: 0)
        let old = cache.value(for: "a", at: 0)
        #expect(!isTooMuchKept && old == nil && cache.byteCount == 45 && cache.count == 1)
        let isWholeKept = cache.insert(4, for: "e", cost: 100, at: 0)
        #expect(isWholeKept && cache.byteCount == 100 && cache.count == 1)
        // A value in place of another one's counts once.
        let isReplaced = cache.insert(5, for: "e", cost: 60, at: 0)
        #expect(isReplaced && cache.byteCount == 60)
    }

    @Test("evicts the least recently used, and being asked for is a use")
    func evictsTheLeastRecentlyUsed() {
        var cache = TimedCache<String, Int>(capacity: 2, timeToLive: 10)
        cache.insert(1, for: "a", at: 0)
        cache.insert(2, for: "b", at: 0)
        _ = cache.value(for: "a", at: 0)
        cache.insert(3, for: "c", at: 0)
        let (a, b, c) = (cache.value(for: "a", at: 0), cache.value(for: "b", at: 0), cache.value(for: "c", at: 0))
        #expect(a == 1)
        #expect(b == nil)
        #expect(c == 3)
        #expect(counts(cache) == Counts(count: 2, hits: 3, misses: 1, evictions: 1))
    }

    @Test("a hit makes an entry no younger")
    func aHitMakesAnEntryNoYounger() {
        var cache = TimedCache<String, Int>(capacity: 2, timeToLive: 10)
        cache.insert(1, for: "a", at: 0)
        for time in 1..<10 {
            let found = cache.value(for: "a", at: Double(time))
            #expect(found == 1)
        }
        let late = cache.value(for: "a", at: 10)
        #expect(late == nil)
        #expect(counts(cache) == Counts(hits: 9, misses: 1, expirations: 1))
    }

    @Test("removes what is expired although nobody asks for it, also behind entries that were used later")
    func removesWhatIsExpired() {
        var cache = TimedCache<Int, Int>(capacity: 100, timeToLive: 10)
        for key in 0..<50 { cache.insert(key, for: key, cost: 1, at: 0) }
        for key in 50..<60 { cache.insert(key, for: key, cost: 1, at: 5) }
        // Now the oldest were used last.
        for key in 0..<50 { _ = cache.value(for: key, at: 6) }
        cache.insert(60, for: 60, cost: 1, at: 12)
        #expect(counts(cache) == Counts(count: 11, bytes: 11, hits: 50, expirations: 50))
        cache.removeExpired(at: 1000)
        #expect(counts(cache) == Counts(hits: 50, expirations: 61))
    }

    @Test("an expired entry makes room before a living one is evicted")
    func expiryComesBeforeEviction() {
        var cache = TimedCache<String, Int>(capacity: 2, timeToLive: 10)
        cache.insert(1, for: "old", at: 0)
        cache.insert(2, for: "young", at: 5)
        _ = cache.value(for: "old", at: 6)
        cache.insert(3, for: "new", at: 11)
        let young = cache.value(for: "young", at: 11)
        #expect(young == 2)
        #expect(counts(cache) == Counts(count: 2, hits: 2, expirations: 1))
    }

    @Test("a clock that runs backwards or is no number stands still")
    func aClockThatRunsBackwardsStandsStill() {
        for odd in [-1, -Double.infinity, .infinity, .nan] {
            var cache = TimedCache<String, Int>(capacity: 3, timeToLive: 10)
            cache.insert(1, for: "a", at: 100)
            cache.insert(2, for: "b", at: odd)
            let (a, b) = (cache.value(for: "a", at: odd), cache.value(for: "b", at: 109))
            #expect(a == 1)
            #expect(b == 2)
            cache.removeExpired(at: 110)
            #expect(cache.count == 0, "at \(odd)")
        }
        var cache = TimedCache<String, Int>(capacity: 3, timeToLive: .infinity)
        cache.insert(1, for: "a", at: .nan)
        let a = cache.value(for: "a", at: 1e9)
        #expect(a == 1, "an entry without a time, where time does not matter")
    }

    @Test("removes the entries of a user, wherever they stand")
    func removesTheEntriesOfAUser() {
        var cache = TimedCache<Int, String>(capacity: 10, timeToLive: 10)
        for key in 0..<10 { cache.insert(key % 3 == 0 ? "ada" : "bob", for: key, cost: 10, at: 0) }
        let removed = cache.remove { key, value in key == 9 || value == "ada" }
        #expect(removed == 4)
        #expect(counts(cache) == Counts(count: 6, bytes: 60))
        for key in 0..<10 {
            let found = cache.value(for: key, at: 0)
            #expect((found == nil) == (key % 3 == 0))
        }
        let none = cache.remove { _, _ in false }
        #expect(none == 0)
    }

    @Test("an error while removing leaves a cache that is whole")
    func anErrorWhileRemoving() {
        struct Fault: Error {}
        var cache = TimedCache<Int, Int>(capacity: 4, timeToLive: 10)
        for key in 0..<4 { cache.insert(key, for: key, at: 0) }
        do throws(Fault) {
            try cache.remove { key, _ throws(Fault) in
                if key == 2 { throw Fault() }
                return true
            }
            Issue.record("nothing was thrown")
        } catch {}
        #expect(cache.count == 2)
        let found = cache.value(for: 3, at: 0)
        #expect(found == 3)
    }

    @Test("is empty after all was removed, and keeps its counters")
    func removesAll() {
        var cache = TimedCache<Int, Int>(capacity: 4, timeToLive: 10)
        for key in 0..<6 { cache.insert(key, for: key, cost: 3, at: 0) }
        _ = cache.value(for: 5, at: 0)
        cache.removeAll()
        #expect(counts(cache) == Counts(hits: 1, evictions: 2))
        let found = cache.value(for: 5, at: 0)
        #expect(found == nil)
        for key in 0..<6 { cache.insert(key, for: key, at: 0) }
        #expect(cache.count == 4)
        #expect(cache.slotCount == 4)
    }

    @Test("drops an answer that was asked for before something was removed")
    func dropsAnAnswerFromBefore() {
        var cache = TimedCache<Int, Int>(capacity: 4, timeToLive: 10)
        let first = cache.generation
        let isKept = cache.insert(1, for: 1, at: 0, asOf: first)
        #expect(isKept)
        cache.remove { _, _ in false }
        let isKeptAfterRemoval = cache.insert(2, for: 1, at: 0, asOf: first)
        #expect(!isKeptAfterRemoval)
        let second = cache.generation
        cache.removeAll()
        let isKeptAfterAll = cache.insert(3, for: 1, at: 0, asOf: second)
        #expect(!isKeptAfterAll)
        #expect(cache.count == 0)
        let isKeptNow = cache.insert(4, for: 1, at: 0, asOf: cache.generation)
        #expect(isKeptNow)
    }

    @Test("lets go of what it removes")
    func letsGoOfWhatItRemoves() {
        final class Thing: Sendable {}
        var cache = TimedCache<Int, Thing>(capacity: 2, timeToLive: 10)
        weak var evicted: Thing?
        weak var expired: Thing?
        do {
            let (first, second) = (Thing(), Thing())
            (evicted, expired) = (first, second)
            cache.insert(first, for: 1, at: 0)
            cache.insert(second, for: 2, at: 0)
        }
        #expect(evicted != nil)
        cache.insert(Thing(), for: 3, at: 0)
        #expect(evicted == nil)
        #expect(expired != nil)
        cache.removeExpired(at: 10)
        #expect(expired == nil)
        #expect(cache.count == 0)
    }

    @Test("refuses settings that hold nothing")
    func refusesSettings() async {
        await #expect(processExitsWith: .failure) { _ = TimedCache<Int, Int>(capacity: 0, timeToLive: 1) }
        await #expect(processExitsWith: .failure) { _ = TimedCache<Int, Int>(capacity: 1, timeToLive: 0) }
        await #expect(processExitsWith: .failure) { _ = TimedCache<Int, Int>(capacity: 1, timeToLive: .nan) }
        await #expect(processExitsWith: .failure) {
            var cache = TimedCache<Int, Int>(capacity: 1, timeToLive: 1)
            cache.insert(1, for: 1, cost: -1, at: 0)
        }
    }

    @Test(
        "a million keys take no more than the capacity, and no operation's work depends on it", arguments: [1, 2, 1024])
    func aMillionKeys(capacity: Int) {
        let keys = underSanitizer(50_000, otherwise: 1_000_000)
        var cache = TimedCache<Int, Int>(capacity: capacity, timeToLive: 5_000)
        var most = 0
        for key in 0..<keys {
            // The time advances in leaps, so that many expire at once.
            cache.insert(key, for: key, cost: 8, at: Double(key / 1_000 * 1_000))
            most = max(most, cache.count)
        }
        #expect(most == capacity)
        #expect(cache.byteCount == 8 * cache.count)
        #expect(cache.evictions + cache.expirations + cache.count == keys)
        #expect(cache.slotCount == capacity)
        // Each insertion writes 4 links in each of two lists, each removal 2.
        #expect(cache.linkWrites == 8 * keys + 4 * (keys - cache.count))
    }

    @Test("a look-up hashes its key once or twice, whatever the number of entries")
    func aLookUpHashesItsKeyOnce() {
        for capacity in [2, 64, 4096] {
            var cache = TimedCache<CountingKey, Int>(capacity: capacity, timeToLive: .infinity)
            let hashes = Counter()
            let keys = (0..<capacity * 2).map { CountingKey(value: $0, hashes: hashes) }
            for key in keys { cache.insert(1, for: key, at: 0) }
            hashes.value.withLock { $0 = 0 }
            let links = cache.linkWrites
            for _ in 0..<100 { _ = cache.value(for: keys[capacity * 2 - 1], at: 0) }
            #expect(hashes.value.withLock { $0 } <= 200)
            #expect(cache.linkWrites - links == 600)
            hashes.value.withLock { $0 = 0 }
            for i in 0..<100 { cache.insert(1, for: CountingKey(value: -i, hashes: hashes), at: 0) }
            // Removal from the dictionary may move a few neighbours, which are hashed again.
            #expect(hashes.value.withLock { $0 } <= 1_500)
        }
    }
}

/// What a cache says of itself.
struct Counts: Hashable {
    var count = 0
    var bytes = 0
    var hits = 0
    var misses = 0
    var evictions = 0
    var expirations = 0
}

func counts<Key, Value>(_ cache: borrowing TimedCache<Key, Value>) -> Counts {
    Counts(
        count: cache.count, bytes: cache.byteCount, hits: cache.hits, misses: cache.misses, evictions: cache.evictions,
        expirations: cache.expirations)
}

private final class Counter: Sendable {
    let value = Lock(0)
}

private struct CountingKey: Hashable, Sendable {
    let value: Int
    let hashes: Counter

    static func == (left: CountingKey, right: CountingKey) -> Bool { left.value == right.value }
    func hash(into hasher: inout Hasher) {
        hashes.value.withLock { $0 += 1 }
        hasher.combine(value)
    }
}
