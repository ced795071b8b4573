import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// The report of a benchmark of convergence, as a text.
@Suite struct ConvergencePageTests {
    private static let variants: [ConvergenceGrid.Variant] = [
        .init(.none), .init(.cold), .init(.profile),
        .init(
            name: "two rates", method: .engine,
            settings: [.init(.rate, [.number(0.1), .number(0.3)]), .init(.bank, [.flag(false)])]),
    ]

    /// The page without what depends on the machine's speed.
    private func timeless(_ html: String) throws -> String {
        let start = try #require(html.range(of: "<section id=\"\(ConvergencePage.machineID)\">"))
        let end = try #require(html.range(of: "</section>", range: start.upperBound..<html.endIndex))
        return html.replacingCharacters(in: start.lowerBound..<end.upperBound, with: "")
    }

    @Test func saysWhatTheResultSays() async throws {
        let result = try await SmallBenchmark.run(Self.variants)
        let html = result.html
        try Markup.check(html)
        for outside in ["<script", "http://", "https://", "src=", "href=", "@import", "url("] {
            #expect(!html.contains(outside), "\(outside)")
        }
        #expect(html.contains("default-src 'none'; style-src 'unsafe-inline'"))
        #expect(!html.contains("nan") && !html.contains("inf\"") && !html.contains(">-<"))
        #expect(html.contains("Data hash \(BenchmarkRecord.hex(result.evaluation.dataHash))"))
        for variant in result.variants {
            #expect(html.components(separatedBy: "<tr><td>\(variant.name)</td>").count >= 3, "\(variant.name)")
            let auc = variant.measures.auc
            let numbers = [auc.mean, auc.low, auc.high].map { decimal($0, digits: 4) }
            #expect(html.contains("<td>\(numbers[0])<small>\(numbers[1]) to \(numbers[2])</small></td>"))
            for row in variant.differences {
                #expect(html.contains("<td>\(probability(row.p))</td><td>\(probability(row.adjusted))</td>"))
            }
            for candidate in variant.candidates {
                let ndcg10 = try #require(candidate.ndcg10)
                #expect(html.contains("<td>\(decimal(ndcg10.mean, digits: 4))<small>"))
            }
        }
        // Curves twice, for wide and narrow screens: gain, shares of users, and two of the four sensitivities to a rate.
        #expect(html.components(separatedBy: "<polyline class=\"line").count - 1 == 3 * 3 + 2 * (3 + 2))
        #expect(html.contains("learning rate (logarithmic)") && !html.contains("Forgetting against adaptation"))
    }

    @Test func onlyOneSectionDependsOnTheMachine() async throws {
        let (one, two) = (
            try await SmallBenchmark.run(Self.variants, threads: 1), try await SmallBenchmark.run(Self.variants)
        )
        #expect(one.html != two.html)
        #expect(try timeless(one.html) == timeless(two.html))
    }

    @Test func escapesTextFromElsewhere() async throws {
        let small = try SmallBenchmark.data()
        let data = try EvaluationData(
            name: "<script>alert('x')</script>", embeddingsName: "a<b", vectors: small.vectors,
            catalogueRows: small.catalogueRows,
            likes: (small.donors + small.users).map { ($0.userID, $0.items) },
            isDonor: small.donors.map { _ in true } + small.users.map { _ in false }, truth: nil)
        let result = try await ConvergenceBenchmark(
            data, grid: ConvergenceGrid([.init(.none), .init(.profile)]), configuration: SmallBenchmark.configuration(),
            version: "<1>", command: "attune benchmark convergence '<a & b>'"
        ).run()
        let html = result.html
        try Markup.check(html)
        #expect(!html.contains("<script") && html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"))
        #expect(html.contains("Embeddings: a&lt;b.") && html.contains("Attune &lt;1&gt;."))
        #expect(html.contains("<pre>attune benchmark convergence &#39;&lt;a &amp; b&gt;&#39;</pre>"))
    }

    @Test func manyVariantsStandInTablesOnly() async throws {
        let names = (1...13).map { "a variant of the profile that has the number \($0)" }
        let result = try await SmallBenchmark.run(
            [.init(.none)]
                + names.enumerated().map { place, name in
                    .init(name: name, method: .profile, settings: [.init(.kappa, [.number(Double(place) / 10)])])
                })
        let html = result.html
        try Markup.check(html)
        #expect(html.contains("The figures show the first 10 variants of 14"))
        #expect(html.contains("3 more stand in the tables only: \(names.suffix(3).joined(separator: ", ")).</p>"))
        for name in names { #expect(html.contains("<tr><td>\(name)</td>")) }
        #expect(html.components(separatedBy: "<title>\(names[9])</title>").count > 1)
        #expect(html.components(separatedBy: "<title>\(names[10])</title>").count == 1)
    }

    @Test func aSingleVariantIsComparedWithNothing() async throws {
        let html = try await SmallBenchmark.run([.init(.none)]).html
        try Markup.check(html)
        #expect(html.contains("Nothing was compared: beside none there is no variant."))
        #expect(!html.contains("<h2>Differences from"))
    }

    @Test func failuresAreToldInTheTableAndInTheFigure() async throws {
        let result = try await SmallBenchmark.run([
            .init(.none),
            .init(
                name: "hot", method: .engine,
                settings: [
                    .init(.rate, [.number(0.1), .number(1_000)]), .init(.bank, [.flag(false)]),
                    .init(.clipping, [.word("off")]), .init(.optimizer, [.word("sgd")]),
                ]),
        ])
        let failure = try #require(result["hot"]?.candidates.compactMap(\.failure).first, "none failed")
        let html = result.html
        try Markup.check(html)
        #expect(html.contains("failed: \(markup(failure))"))
        #expect(html.contains("The adapters could not bear a rate of 1000.") && html.contains("class=\"fail\""))
    }

    @Test func variantsThatDifferInAStrengthAreJoined() async throws {
        func variant(_ name: String, _ settings: [ConvergenceGrid.Axis]) -> ConvergenceGrid.Variant {
            .init(name: name, method: .engine, settings: [.init(.bank, [.flag(false)])] + settings)
        }
        var configuration = SyntheticPopulation.Configuration()
        (configuration.users, configuration.items, configuration.dimension) = (50, 100, 12)
        (configuration.likes, configuration.driftStep, configuration.returnStep) = (16...18, 6, 11)
        let population = try EvaluationData(SyntheticPopulation(configuration))
        let result = try await SmallBenchmark.run(
            [
                .init(.none), variant("strong", [.init(.ewc, [.number(1)])]), variant("plain", []),
                variant("weak", [.init(.ewc, [.number(0.1)])]), variant("forks", [.init(.fork, [.number(5)])]),
                variant("slow", [.init(.rate, [.number(0.01)])]),
            ], data: population)
        let found = StrengthFrontier.all(of: result.variants)
        #expect(found.map(\.setting) == ["ewc", "fork"])
        #expect(found.first?.places == [2, 3, 1] && found.first?.values == ["off", "0.1", "1"])
        #expect(found.last?.places == [2, 4] && found.last?.values == ["off", "5"])
        let html = result.html
        try Markup.check(html)
        #expect(html.contains("<li>ewc: plain (off) → weak (0.1) → strong (1)</li>"))
        #expect(html.components(separatedBy: "<polyline class=\"joint\"").count - 1 == 3 * 2)
    }

    @Test(
        arguments: [
            ("", 5, [""]), ("ab cd", 5, ["ab cd"]), ("ab cde", 5, ["ab", "cde"]),
            ("abcdefg h", 3, ["abc", "def", "g h"]),
        ] as [(String, Int, [String])])
    func wrapsNames(text: String, columns: Int, lines: [String]) {
        #expect(wrapped(text, columns: columns) == lines)
    }

    @Test func sharesOfUsersRiseToOne() {
        #expect(SharePlot.points([0.2, -0.1]).map(\.value) == [-0.1, -0.1, 0.2, 0.2])
        #expect(SharePlot.points([0.2, -0.1]).map(\.share) == [0, 0.5, 0.5, 1])
        let many = SharePlot.points((0..<1_000).map { Double($0) })
        #expect(many.count == 201 && many.first?.value == 0 && many.last?.value == 999 && many.last?.share == 1)
        #expect(SharePlot.points([]).isEmpty)
    }
}

/// A page as a parser of elements sees it.
enum Markup {
    /// Checks that every element is closed in order, but for those that never are.
    static func check(_ html: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        var open: [Substring] = []
        var rest = html[...].drop { $0 != "<" }
        while let start = rest.firstIndex(of: "<") {
            let text = rest[rest.startIndex..<start]
            #expect(!text.contains(">") || open.last == "style", "\(text.prefix(80))", sourceLocation: sourceLocation)
            let end = try #require(rest[start...].firstIndex(of: ">"), sourceLocation: sourceLocation)
            let tag = rest[rest.index(after: start)..<end]
            rest = rest[rest.index(after: end)...]
            let name = tag.prefix { $0 != " " && $0 != "\n" }
            if tag.hasPrefix("/") {
                let last = open.popLast()
                #expect(last == tag.dropFirst(), "\(tag)", sourceLocation: sourceLocation)
            } else if !tag.hasSuffix("/"), !["!DOCTYPE", "meta"].contains(name) {
                open.append(name)
            }
            #expect(tag.count { $0 == "\"" } % 2 == 0, "\(tag)", sourceLocation: sourceLocation)
        }
        #expect(open.isEmpty, "\(open)", sourceLocation: sourceLocation)
    }
}
