import LearningRecords
import Testing

@Suite("Commands to the recording in words")
struct RecordingPhraseTests {
    @Test("mean what the table says")
    func meanWhatTheTableSays() {
        #expect(PhraseRow.all.count >= 300)
        #expect(Set(PhraseRow.all.map(\.text)).count == PhraseRow.all.count)
        for row in PhraseRow.all {
            #expect(kind(RecordingPhrase.meaning(of: row.text)) == row.meaning, "\(row.text.debugDescription)")
        }
    }

    @Test("mean the same in upper case, with other spaces, curly apostrophes, and in canonical decomposition")
    func meanTheSameInOtherForms() {
        for row in PhraseRow.all {
            let spaced = String(row.text.flatMap { $0 == " " ? "\n \u{2003}" : String($0) })
            let curly = String(row.text.map { $0 == "'" ? "’" : $0 })
            for text in [row.text.uppercased(), spaced, curly] {
                #expect(kind(RecordingPhrase.meaning(of: text)) == row.meaning, "\(text.debugDescription)")
            }
        }
        // U+212A, the kelvin sign, is canonically equivalent to K.
        #expect(RecordingPhrase.meaning(of: "chec\u{212A} training") == .command(.checkStatus))
        for name in ["tr\u{E4}ining", "tra\u{308}ining"] {
            #expect(RecordingPhrase.meaning(of: "start \(name)") == .none)
        }
    }

    @Test("have the names of the interface")
    func haveTheNamesOfTheInterface() {
        let names = RecordingCommand.allCases.map(\.rawValue)
        #expect(
            names == ["ENABLE_ENHANCED_REASONING", "DISABLE_ENHANCED_REASONING", "CHECK_ENHANCED_REASONING_STATUS"])
        for command in RecordingCommand.allCases {
            #expect(RecordingPhrase.meaning(of: command.rawValue) == .command(command))
        }
    }

    @Test("are asked about in questions that name the command and are no commands themselves")
    func areAskedAboutInQuestions() {
        let texts = ["start training?", "stop training?", "well, training status", "restart training"]
        let questions = texts.map { text in
            guard case .ambiguous(let question) = RecordingPhrase.meaning(of: text) else { return "\(text) is clear" }
            return question
        }
        #expect(
            questions == [
                "Is this a request to switch the recording of model calls on?",
                "Is this a request to switch the recording of model calls off?",
                "Is this a request for the status of the recording of model calls?",
                "Which is meant: to switch the recording of model calls on, to switch it off, or to show its status?",
            ])
        for question in questions { #expect(RecordingPhrase.meaning(of: question) == .none) }
    }

    @Test("are read up to a length, and a longer text has no meaning")
    func areReadUpToALength() {
        let padding = String(repeating: " ", count: RecordingPhrase.maximumLength - "start training".utf8.count)
        #expect(RecordingPhrase.meaning(of: padding + "start training") == .command(.enable))
        #expect(RecordingPhrase.meaning(of: padding + " start training") == .none)
        #expect(RecordingPhrase.meaning(of: "start training." + padding) == .none)
        #expect(RecordingPhrase.meaning(of: String(repeating: "start training. ", count: 1_000_000)) == .none)
    }

    @Test("take work in proportion to their length, whatever they are made of")
    func takeWorkInProportionToTheirLength() {
        let pieces = [
            "start training ", "start ", "training ", "the ", "enhanced ", "recording ", "please ",
            "check the status of ", "turn the enhanced reasoning mode session recording ", "what is ", "not ", "a ",
            "a", "'", ". ", ".", ", ", "and ", "?", "e\u{301}", "\u{301}", "\u{200D}", "🙂", "🇩🇪", "\u{1100}\u{1161}",
        ]
        for piece in pieces {
            for count in [64, 512, RecordingPhrase.maximumLength] {
                let text = String(repeating: piece, count: count / piece.utf8.count)
                var steps = 0
                _ = RecordingPhrase.meaning(of: text, steps: &steps)
                #expect(steps <= 24 * count, "\(piece.debugDescription), \(count) bytes: \(steps)")
            }
        }
    }
}

func kind(_ meaning: RecordingPhrase.Meaning) -> PhraseRow.Meaning {
    switch meaning {
    case .command(.enable): .enable
    case .command(.disable): .disable
    case .command(.checkStatus): .status
    case .ambiguous: .question
    case .none: .none
    }
}
