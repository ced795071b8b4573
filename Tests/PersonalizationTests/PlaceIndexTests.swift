import TensorCore
import Testing

@testable import Personalization

/// The index of places against a dictionary, with hashes that agree in the bits that say where an entry belongs, and in all.
struct PlaceIndexTests {
    private func places(_ index: borrowing PlaceIndex, _ hash: Int) -> [Int32] {
        var probe = PlaceIndex.Probe(hash)
        var found: [Int32] = []
        while let (place, trace) = index.next(&probe) {
            // Each place's own, wherever its entry has moved since.
            #expect(trace == AdapterTrace(address: UInt(place)))
            found.append(place)
        }
        return found
    }

    private func insert(_ index: inout PlaceIndex, _ hash: Int, _ place: Int32) {
        index.insert(hash, place)
        var probe = PlaceIndex.Probe(hash)
        while let (found, _) = index.next(&probe) {
            if found == place { index.leave(AdapterTrace(address: UInt(place)), probe) }
        }
    }

    @Test(arguments: [1, 3, 40, 5_000])
    func placesAreFoundUnderTheirHashes(hashes: Int) {
        let seed: UInt64 = 1_618
        var random = PhiloxGenerator(seed: seed, stream: UInt64(hashes))
        // Few upper halves, so that walks are long and cross the table's end; the lower ones are the shard's business.
        let all = (0..<hashes).map { i in
            (i % 2 == 0 ? -1 - i / 2 % 7 : Int(truncatingIfNeeded: random.next()) >> 32) << 32
                | Int(random.next() & 0xff)
        }
        var index = PlaceIndex()
        var model: [Int32: Int] = [:]
        for step in 0..<3_000 {
            let place = Int32(random.integer(below: 400))
            if let hash = model.removeValue(forKey: place) {
                index.remove(hash, place)
            } else {
                let hash = all[random.integer(below: hashes)]
                insert(&index, hash, place)
                model[place] = hash
            }
            #expect(index.count == model.count)
            guard step % 50 == 0 || step > 2_990 else { continue }
            for hash in Set(all.prefix(60)) {
                let expected = model.filter { $0.value >> 32 == hash >> 32 }.map(\.key).sorted()
                #expect(places(index, hash).sorted() == expected, "seed \(seed), \(hashes) hashes, step \(step)")
            }
        }
    }

    @Test func anEmptyIndexFindsNothing() {
        let index = PlaceIndex()
        #expect(places(index, 0).isEmpty && places(index, -1).isEmpty && index.count == 0)
    }

    @Test func theLargestPlaceIsAPlace() {
        var index = PlaceIndex()
        insert(&index, -1, .max - 1)
        insert(&index, -1, 0)
        #expect(places(index, -1).sorted() == [0, .max - 1])
        index.remove(-1, .max - 1)
        #expect(places(index, -1) == [0])
    }
}
