import Testing

@testable import TensorCore

@Suite("SipHash")
struct SipHashTests {
    /// Made by `openssl mac -macopt hexkey:000102030405060708090a0b0c0d0e0f -macopt size:16 -in FILE SIPHASH`, FILE holding
    /// the bytes 0, 1, … (OpenSSL 3.0).
    static let expected: [(count: Int, hash: String)] = [
        (0, "A3817F04BA25A8E66DF67214C7550293"),
        (1, "DA87C1D86B99AF44347659119B22FC45"),
        (7, "A1F1EBBED8DBC153C0B84AA61FF08239"),
        (8, "3B62A9BA6258F5610F83E264F31497B4"),
        (15, "5493E99933B0A8117E08EC0F97CFC3D9"),
        (16, "6EE2A4CA67B054BBFD3315BF85230577"),
        (63, "5150D1772F50834A503E069A973FBD7C"),
    ]

    @Test("agrees with OpenSSL", arguments: expected)
    func agreesWithOpenSSL(count: Int, hash: String) {
        let key: (UInt64, UInt64) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908)
        let (first, second) = SipHash.hash128(bytes: (0..<count).map { UInt8($0) }, key: key)
        let bytes = [first, second].flatMap { half in
            (0..<8).map { UInt8(truncatingIfNeeded: half >> UInt64(8 * $0)) }
        }
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) }.joined()
        #expect(digits == hash)
    }
}
