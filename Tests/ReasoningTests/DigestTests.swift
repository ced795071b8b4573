import Reasoning
import Testing

@Suite("Digests of users")
struct DigestTests {
    @Test("depend on the user and on the key")
    func dependOnBoth() {
        let key = DigestKey(1, 2)
        #expect(key.digest(of: "ada") == key.digest(of: "ada"))
        #expect(key.digest(of: "ada") != key.digest(of: "Ada"))
        #expect(key.digest(of: "ada") != DigestKey(2, 1).digest(of: "ada"))
        #expect(DigestKey.random().digest(of: "ada") != DigestKey.random().digest(of: "ada"))
    }

    @Test("are of the id's bytes, not of what they look like")
    func areOfBytes() {
        let key = DigestKey(1, 2)
        #expect(key.digest(of: "\u{e9}") != key.digest(of: "e\u{301}"))
    }

    @Test("print as 32 digits")
    func printAs32Digits() {
        #expect(UserDigest(high: 1, low: 0xff).description == "000000000000000100000000000000ff")
    }
}
