import TensorCore
import Testing

@testable import Reasoning

/// The cache as one would write it without a thought for time: everything is looked for.
private struct NaiveCache {
    struct Entry {
        var value: Int
        var cost: Int
        var birth: Double
        var lastUse: Int
    }
    let capacity: Int
    let timeToLive: Double
    var entries: [Int: Entry] = [:]
    var uses = 0
    var counts = Counts()

    private mutating func expire(_ now: Double) {
        let expired = entries.filter { now - $0.value.birth >= timeToLive }
        counts.expirations += expired.count
        for key in expired.keys { entries[key] = nil }
    }

    mutating func value(for key: Int, at now: Double) -> Int? {
        expire(now)
        guard entries[key] != nil else {
            counts.misses += 1
            return nil
        }
        uses += 1
        entries[key]?.lastUse = uses
        counts.hits += 1
        return entries[key]?.value
    }

    mutating func insert(_ value: Int, for key: Int, cost: Int, at now: Double) {
        expire(now)
        if entries[key] == nil, entries.count == capacity,
            let last = entries.min(by: { $0.value.lastUse < $1.value.lastUse })
        {
            entries[last.key] = nil
            counts.evictions += 1
        }
        uses += 1
        entries[key] = Entry(value: value, cost: cost, birth: now, lastUse: uses)
    }

    mutating func removeExpired(at now: Double) { expire(now) }

    mutating func remove(where isRemoved: (Int, Int) -> Bool) -> Int {
        let removed = entries.filter { isRemoved($0.key, $0.value.value) }
        for key in removed.keys { entries[key] = nil }
        return removed.count
    }

    var summary: Counts {
        var counts = counts
        counts.count = entries.count
        counts.bytes = entries.values.reduce(0) { $0 + $1.cost }
        return counts
    }
}

@Suite("The timed cache beside a naive one")
struct TimedCacheModelTests {
    @Test("agrees on 100000 random operations", arguments: [(1, 3), (2, 7), (7, 20), (20, 30), (20, 15)])
    func agrees(capacity: Int, keys: Int) {
        let seed = UInt64(capacity * 1000 + keys)
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        let timeToLive = Double(4 * capacity)
        var cache = TimedCache<Int, Int>(capacity: capacity, timeToLive: timeToLive)
        var naive = NaiveCache(capacity: capacity, timeToLive: timeToLive)
        var now = 0.0
        for operation in 0..<20_000 {
            // Quarters of a second, so that sums are exact; sometimes a leap past the time to live.
            switch random.next() % 16 {
            case 0: now += Double(random.next() % 100) / 4
            case 1...8: now += Double(random.next() % 8) / 4
            default: break
            }
            let key = Int(random.next() % UInt64(keys))
            var isSame = true
            switch random.next() % 64 {
            case 0:
                isSame =
                    cache.remove { $0 % 3 == key % 3 || $1 % 5 == 0 }
                    == naive.remove { $0 % 3 == key % 3 || $1 % 5 == 0 }
            case 1:
                cache.removeAll()
                naive.entries = [:]
            case 2:
                cache.removeExpired(at: now)
                naive.removeExpired(at: now)
            case 3...34: isSame = cache.value(for: key, at: now) == naive.value(for: key, at: now)
            default:
                let cost = Int(random.next() % 1000)
                cache.insert(operation, for: key, cost: cost, at: now)
                naive.insert(operation, for: key, cost: cost, at: now)
            }
            guard isSame, counts(cache) == naive.summary, cache.slotCount <= capacity else {
                Issue.record(
                    "seed \(seed), operation \(operation): \(counts(cache)) where the naive cache has \(naive.summary)")
                return
            }
        }
        #expect(cache.hits > 100 && cache.expirations > 100, "seed \(seed): the operations reach too little")
        #expect(capacity >= keys || cache.evictions > 100, "seed \(seed): the operations reach too little")
    }
}
