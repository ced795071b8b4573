import Testing

@testable import AttuneCommand

@Suite struct ConsoleTests {
    private let clock = ManualClock()
    private let output = RecordingSink()
    private let terminal = RecordingSink(isTerminal: true)

    private func console(errors: RecordingSink) -> Console {
        Console(output: output, errors: errors, now: { [clock] in clock.now })
    }

    @Test func drawsNoProgressUnlessSomeoneWatches() {
        let file = RecordingSink(isTerminal: false)
        let console = console(errors: file)
        console.beginProgress("Work", total: 10)
        clock.set(.seconds(5))
        console.advanceProgress(to: 5)
        console.endProgress()
        #expect(file.writes == 0)
        #expect(output.writes == 0)
    }

    @Test func drawsOverTheLineAndTakesItAwayBeforeOtherText() {
        let console = console(errors: terminal)
        console.beginProgress("Work", total: 10)
        clock.set(.seconds(5))
        console.advanceProgress(to: 5)
        #expect(terminal.text == "\rWork: 5 of 10 (50 %), about 5 s left\u{1B}[K")
        console.write("result\n")
        #expect(output.text == "result\n")
        #expect(terminal.text.hasSuffix("left\u{1B}[K\r\u{1B}[K"))
        let writes = terminal.writes
        console.endProgress()
        #expect(terminal.writes == writes)
    }

    @Test func stopsWritingAfterTheFirstFailureAndKeepsIt() {
        let broken = RecordingSink(failure: .failed("gone"))
        let console = Console(output: broken, errors: terminal, now: { .zero })
        console.write("a")
        console.write("b")
        #expect(broken.writes == 1)
        #expect(console.failure == .failed("gone"))
    }

    @Test func keepsEveryLineWholeWhenManyTasksWrite() async {
        let console = console(errors: terminal)
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<16 {
                group.addTask {
                    for _ in 0..<100 { console.write("task \(task)\n") }
                }
            }
        }
        let lines = output.text.split(separator: "\n")
        #expect(lines.count == 1_600)
        for task in 0..<16 { #expect(lines.filter { $0 == "task \(task)" }.count == 100) }
    }
}

@Suite struct ProgressLineTests {
    @Test func staysSilentForWorkOfUnderTwoSeconds() {
        var line = ProgressLine(label: "Work", total: 100, start: .seconds(7))
        for step in 1...100 {
            #expect(line.advance(to: step, at: .seconds(7) + .milliseconds(19 * step)) == nil)
        }
    }

    @Test func appearsAsSoonAsTheWorkIsSeenToBeLong() {
        var line = ProgressLine(label: "Work", total: 100, start: .seconds(7))
        #expect(line.advance(to: 1, at: .milliseconds(7_400)) == nil)
        #expect(line.advance(to: 2, at: .milliseconds(7_600)) == "Work: 2 of 100 (2 %), about 29 s left")
    }

    @Test func isRenewedAtMostTenTimesASecondAndAlwaysAtTheEnd() {
        var line = ProgressLine(label: "Work", total: 100, start: .zero)
        #expect(line.advance(to: 10, at: .seconds(3)) != nil)
        #expect(line.advance(to: 11, at: .milliseconds(3_050)) == nil)
        #expect(line.advance(to: 12, at: .milliseconds(3_100)) != nil)
        #expect(line.advance(to: 100, at: .milliseconds(3_110)) == "Work: 100 of 100 (100 %)")
    }

    @Test func neverGoesBackOrPastTheEnd() {
        var line = ProgressLine(label: "Work", total: 10, start: .zero)
        _ = line.advance(to: 5, at: .seconds(3))
        #expect(line.advance(to: 3, at: .seconds(4)) == "Work: 5 of 10 (50 %), about 4 s left")
        #expect(line.advance(to: 99, at: .seconds(5)) == "Work: 10 of 10 (100 %)")
    }

    @Test func showsNoTimeLeftBeforeTheFirstStepIsDone() {
        var line = ProgressLine(label: "Work", total: 0, start: .zero)
        #expect(line.advance(to: 0, at: .seconds(3)) == "Work: 0 of 1 (0 %)")
    }

    @Test(
        arguments: [
            (.zero, "under 1 s"), (.milliseconds(1_400), "about 1 s"), (.seconds(89), "about 89 s"),
            (.seconds(90), "about 2 min"), (.seconds(5_369), "about 89 min"), (.seconds(7_300), "about 2 h"),
        ] as [(Duration, String)])
    func roundsTimesToWhatAnEstimateDeserves(_ duration: Duration, _ text: String) {
        #expect(ProgressLine.rounded(duration) == text)
    }
}
