import Personalization
import Testing

struct FeedbackIDTests {
    @Test func itsTextIsReadBack() {
        for id in [FeedbackID("order-1234"), FeedbackID(high: 0, low: 1), FeedbackID(high: .max, low: 0)] {
            #expect(FeedbackID(hexadecimal: id.description) == id)
            #expect(id.description.utf8.count == 32)
        }
        for text in [
            "", "order-1234", String(repeating: "g", count: 32), String(repeating: "A", count: 32),
            "+" + String(repeating: "0", count: 31),
        ] {
            #expect(FeedbackID(hexadecimal: text) == nil)
        }
    }

    /// XXH3's own reference values for 128 bits under seed 0.
    @Test func namesAreHashedByTheirBytes() {
        #expect(FeedbackID("").description == "99aa06d3014798d86001c324468d497f")
        #expect(FeedbackID("a") != FeedbackID("b"))
        #expect(FeedbackID("\u{E9}") != FeedbackID("e\u{301}"))
    }
}
