import Testing

@testable import TensorCore

struct PhiloxTests {
    @Test(
        "Known answers of Random123 1.14 (philox4x32, 10 rounds)",
        arguments: [
            (
                Philox.Block(0, 0, 0, 0), Philox(seed: 0),
                Philox.Block(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8)
            ),
            (
                Philox.Block(.max, .max, .max, .max), Philox(seed: .max),
                Philox.Block(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd)
            ),
            (
                Philox.Block(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344),
                Philox(key0: 0xa409_3822, key1: 0x299f_31d0),
                Philox.Block(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1)
            ),
        ])
    func givesPublishedAnswers(counter: Philox.Block, philox: Philox, expected: Philox.Block) {
        #expect(philox.block(at: counter) == expected)
    }

    @Test func agreesWithASeparateImplementation() throws {
        let source = try ByteSource(path: TensorFixtures.folder + "/philox.json")
        let root = try StrictJSON.parse(source.bytes(0..<source.count))
        let vectors = try root.member("known").elements() + root.member("further").elements()
        #expect(vectors.count > 3)
        for vector in vectors {
            func words(_ key: String) throws -> [UInt32] {
                try vector.member(key).elements().map { UInt32(try $0.integer()) }
            }
            let (counter, key, output) = (try words("counter"), try words("key"), try words("output"))
            #expect(
                Philox(key0: key[0], key1: key[1])
                    .block(at: Philox.Block(counter[0], counter[1], counter[2], counter[3]))
                    == Philox.Block(output[0], output[1], output[2], output[3]))
        }
    }

    // Computed by a separate Python implementation of Philox and of the counter layout in the generator's doc.
    @Test(
        arguments: [
            (
                PhiloxGenerator(seed: 0),
                [0xe169_c58d_6627_e8d5, 0x9b00_dbd8_bc57_ac4c, 0x5cb2_00db_f8e4_cca4, 0x097e_ff67_b1a5_74eb]
            ),
            (
                PhiloxGenerator(seed: 42, stream: 7, purpose: .initialization),
                [0x61d7_c4e2_8bfb_c168, 0x61d9_3c1d_0e37_3fc5, 0x2aaa_2fd4_ac82_216f, 0x05ab_a4f5_e9a9_131b]
            ),
            (
                PhiloxGenerator(seed: 0xdead_beef_1234_5678, stream: .max, purpose: RandomPurpose(rawValue: .max)),
                [0x9ea7_056c_35b6_fc6f, 0x8208_4c7a_86a6_1772, 0x042a_e2bb_1667_08b8, 0x29a6_6597_8559_f601]
            ),
            (
                PhiloxGenerator(seed: 42, stream: 7, purpose: .initialization, position: 1 << 40 + 1),
                [0xf281_8018_05fc_599a, 0x9c89_3a60_dd43_249c, 0x52c1_f72d_ca73_ef67]
            ),
        ] as [(PhiloxGenerator, [UInt64])])
    func generatorFollowsItsDocumentedLayout(generator: PhiloxGenerator, expected: [UInt64]) {
        var generator = generator
        #expect(expected.map { _ in generator.next() } == expected)
    }

    @Test func positionCanBeReadAndSet() {
        var generator = PhiloxGenerator(seed: 3, stream: 9, purpose: .shuffling)
        let numbers = (0..<50).map { _ in generator.next() }
        #expect(generator.position == 50)
        for position in [49, 0, 7, 8, 7, 6, 31, 1] {
            generator.position = UInt64(position)
            #expect(generator.next() == numbers[position])
            #expect(generator.position == UInt64(position) + 1)
            var other = PhiloxGenerator(seed: 3, stream: 9, purpose: .shuffling, position: UInt64(position))
            #expect(other.next() == numbers[position])
            #expect(other == generator)
        }
    }

    @Test func streamsAndPurposesShareNoNumbers() {
        var seen = Set<UInt64>()
        var drawn = 0
        for stream in [0, 1, 2, 1 << 32, UInt64.max] {
            for purpose in [0, 1, 2, 0x8000, UInt16.max] {
                // The last positions before the purpose's bits would carry into the next.
                for start in [0, PhiloxGenerator.period - 50] {
                    var generator = PhiloxGenerator(
                        seed: 11, stream: stream, purpose: RandomPurpose(rawValue: purpose), position: start)
                    for _ in 0..<50 { seen.insert(generator.next()) }
                    drawn += 50
                }
            }
        }
        #expect(seen.count == drawn)
    }

    @Test func trapsWhenTheStreamIsUsedUp() async {
        await #expect(processExitsWith: .failure) {
            var generator = PhiloxGenerator(seed: 0, position: PhiloxGenerator.period - 1)
            _ = generator.next()
            _ = generator.next()
        }
    }

    @Test func purposesHaveDifferentNumbers() {
        let all: [RandomPurpose] = [
            .general, .initialization, .shuffling, .sampling, .exploration, .dropout, .simulation, .resampling,
        ]
        #expect(all.map(\.rawValue) == Array(0..<UInt16(all.count)))
    }
}

struct StableHashTests {
    // FNV-1a (checked there against its published values) and fmix64 in Python.
    @Test(
        arguments: [
            ("", 0xefd0_1f60_ba99_2926), ("a", 0x82a2_a958_a9be_ce5b), ("foobar", 0x2c22_1949_22d1_672b),
            ("user-42", 0xa395_32c7_ab05_1e8d), ("é", 0x9d55_ccb9_ba86_763b), ("日本語", 0xe115_18ac_c326_d0e8),
        ] as [(String, UInt64)])
    func keepsItsValues(string: String, expected: UInt64) {
        #expect(StableHash.hash(string) == expected)
        #expect(StableHash.hash(bytes: Array(string.utf8)) == expected)
    }

    @Test func combinesFieldsWithBoundaries() {
        var hash = StableHash()
        hash.combine("ab")
        hash.combine("c")
        hash.combine(0x0123_4567_89ab_cdef as UInt64)
        #expect(hash.finalized() == 0xcb85_f6a1_5625_670f)
        var moved = StableHash()
        moved.combine("a")
        moved.combine("bc")
        moved.combine(0x0123_4567_89ab_cdef as UInt64)
        #expect(hash.finalized() != moved.finalized())
    }

    @Test func spreadsConsecutiveNamesOverShards() {
        for shift in [0, 32, 58] as [UInt64] {
            var counts = [Int](repeating: 0, count: 64)
            for i in 0..<6400 { counts[Int(StableHash.hash("user-\(i)") >> shift & 63)] += 1 }
            let chiSquare = counts.reduce(0.0) { $0 + Double(($1 - 100) * ($1 - 100)) / 100 }
            #expect(chiSquare < 103.4, "63 degrees of freedom: above the 99.9 % quantile at shift \(shift)")
        }
    }
}
