import Testing

@testable import Reasoning

@Suite("Advice in words")
struct HintParserTests {
    @Test("is read as the table says")
    func isReadAsTheTableSays() {
        #expect(HintRow.all.count >= 60)
        for row in HintRow.all {
            let parsed = HintParser.parse(row.text)
            #expect(parsed.hints == row.hints, "\(row.text): \(parsed)")
            #expect(parsed.ignored.map(\.reason) == row.ignored, "\(row.text): \(parsed)")
        }
    }

    @Test("is read alike in upper case and over several lines")
    func isReadAlike() {
        for row in HintRow.all where !row.text.contains("\n") && !row.text.contains("η") {
            // "1E-3" and the like stay what they are; "E.G. FOR" no longer shows that the sentence goes on.
            guard !row.text.contains("e.g.") else { continue }
            let parsed = HintParser.parse(row.text)
            let upper = HintParser.parse(String(row.text.map { $0.isASCII ? Character($0.uppercased()) : $0 }))
            #expect(upper.hints == parsed.hints, "\(row.text)")
            #expect(upper.ignored.map(\.reason) == parsed.ignored.map(\.reason), "\(row.text)")
            // Where numbers begin a line they would be those of a list.
            let wrapped = HintParser.parse(
                row.text.split(separator: " ", omittingEmptySubsequences: false).joined(separator: "\n  "))
            let hasSentences = row.text.contains(". ") || row.text.contains("- ")
            if !hasSentences { #expect(wrapped.hints == parsed.hints, "\(row.text)") }
        }
    }

    @Test("an ignored part is named by its beginning, cut between characters")
    func anIgnoredPartIsNamed() {
        let parsed = HintParser.parse("Raise the clip. Please do not lower the learning rate to 0.01, ever.")
        #expect(parsed.ignored == [IgnoredHint("lower the learning rate to 0.01", .negated)])
        #expect(parsed.ignored.first?.description == "\"lower the learning rate to 0.01\": it is negated")
        for padding in 0..<8 {
            let text = "Set " + String(repeating: "x", count: padding) + String(repeating: "ü", count: 60) + " to 0.5"
            let excerpt = HintParser.parse(text).ignored.first?.text ?? ""
            #expect(
                excerpt.utf8.count >= HintParser.maximumExcerpt - 1 && excerpt.utf8.count <= HintParser.maximumExcerpt)
            #expect(text.hasPrefix(excerpt), "\(excerpt)")
        }
    }

    @Test("a long text is read as far as its last whole sentence")
    func aLongTextIsReadInPart() {
        let filling = String(repeating: "All is well. ", count: 1_259)
        #expect(filling.utf8.count == HintParser.maximumLength - 17)
        let fitting = HintParser.parse(filling + "Learning rate .01")
        #expect(fitting == ParsedHints(hints: AdaptationHints(learningRate: .value(0.01))))
        let cut = HintParser.parse(filling + "Learning rate .01e-3")
        #expect(cut == ParsedHints(ignored: [IgnoredHint("Learning rate .01", .tooLong)]))
        // The dot of "1.5e-3" is the last that is read, and no sentence ends there.
        let dot = HintParser.parse(filling + "Learning rate 01.5e-3")
        #expect(dot == ParsedHints(ignored: [IgnoredHint("Learning rate 01.", .tooLong)]))
        let early = HintParser.parse("lr: 0.02. " + filling + filling)
        #expect(early.hints == AdaptationHints(learningRate: .value(0.02)))
        #expect(early.ignored.map(\.reason) == [.tooLong])
        let endless = HintParser.parse(String(repeating: "lr 0.02 ", count: 1_000_000))
        #expect(endless.hints.isEmpty)
        #expect(endless.ignored.map(\.reason) == [.tooLong])
    }

    @Test("what is ignored is listed up to a bound")
    func whatIsIgnoredIsListedUpToABound() {
        let parsed = HintParser.parse(String(repeating: "Do not raise lr. ", count: 500))
        #expect(parsed.ignored.count == HintParser.maximumIgnored)
        #expect(parsed.ignored.last?.reason == .tooMany)
        #expect(parsed.ignored.dropLast().allSatisfy { $0.reason == .negated })
    }

    @Test("the work is in proportion to the length, whatever the text is made of")
    func theWorkIsInProportionToTheLength() {
        let pieces = [
            "learning rate ", "0.01 ", "9", "reduce ", "reduce lr ", "lr, ", "lr and ", "max grad norm ",
            "ewc weight weight ",
            "not ", "\n", "\n  ", "\n- ", "\n1. ", ". ", ".", "1.", "1e", "-", "'", "n't ", "ü", "\u{2009}", "\u{200B}",
            "1,0", "x",
            "to ", "by 5 % ", "(", "* ", "**", "? ", "lr 1 is not 2 ", "lr by 5 % and ", "lr, clip, λ avoided ",
            "lr and isn't ",
        ]
        for piece in pieces {
            var perByte: [Double] = []
            for count in [100, 1_000, 10_000] {
                let text = String(repeating: piece, count: max(1, count / piece.utf8.count))
                var steps = 0
                _ = HintParser.parse(text, steps: &steps)
                perByte.append(Double(steps) / Double(text.utf8.count))
            }
            #expect(perByte.allSatisfy { $0 <= 6 }, "\(piece.debugDescription): \(perByte) steps a byte")
        }
    }
}
