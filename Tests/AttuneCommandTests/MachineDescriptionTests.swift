import TensorCore
import Testing

@testable import AttuneCommand

@Suite struct MachineDescriptionTests {
    private func facts(core: String, chosen: String? = nil, library: String = "OpenBLAS 9 DYNAMIC_ARCH Haswell")
        -> [String: String]
    {
        let blas = BLASConfiguration(library: library, core: core, chosenCore: chosen, threads: 1)
        let machine = MachineDescription(processor: "A chip", kernels: .avx512, blas: blas)
        return Dictionary(uniqueKeysWithValues: machine.facts)
    }

    @Test func notesABLASForAnOlderProcessorAndSaysWhatToDo() throws {
        let forced = try #require(facts(core: "Haswell", chosen: "Haswell")["blas note"])
        #expect(forced.contains("OPENBLAS_CORETYPE=Haswell says so") && forced.contains("OPENBLAS_CORETYPE=SkylakeX"))
        let old = try #require(facts(core: "Zen")["blas note"])
        #expect(old.contains("doesn't know") && old.contains("OPENBLAS_CORETYPE=SkylakeX before start"))
    }

    @Test func notesNothingWhereTheBLASFits() {
        let facts = facts(core: "Cooperlake")
        #expect(facts["blas note"] == nil && facts["processor"] == "A chip" && facts["kernels"] == "AVX-512")
    }

    private func additions(
        core: String, chosen: String? = nil, library: String = "OpenBLAS 9 DYNAMIC_ARCH Haswell",
        replaced: String? = nil
    ) -> [String]? {
        let blas = BLASConfiguration(library: library, core: core, chosenCore: chosen, threads: 1)
        return FittingBLAS.environment(blas, .avx512, replaced: replaced)?.map { "\($0.name)=\($0.value)" }
    }

    @Test func startsAgainWhereOpenBLASItselfTookAnOlderProcessorsKernels() {
        #expect(
            additions(core: "Haswell") == ["OPENBLAS_CORETYPE=SkylakeX", "ATTUNE_BLAS_CORE_REPLACED=Haswell"])
    }

    @Test func startsAgainOnlyOnceAndOnlyWhereThatHelps() {
        #expect(additions(core: "Cooperlake") == nil, "it fits")
        #expect(additions(core: "Haswell", chosen: "Haswell") == nil, "somebody wanted it")
        #expect(additions(core: "Haswell", library: "OpenBLAS 9 HASWELL") == nil, "there are no others")
        #expect(additions(core: "Haswell", replaced: "Haswell") == nil, "it was tried")
    }

    @Test func saysWhatItReplaced() throws {
        let blas = BLASConfiguration(
            library: "OpenBLAS 9 DYNAMIC_ARCH", core: "SkylakeX", chosenCore: "SkylakeX", threads: 1)
        let machine = MachineDescription(processor: nil, kernels: .avx512, blas: blas, replacedCore: "Haswell")
        let note = try #require(machine.facts.first { $0.name == "blas note" })
        #expect(note.value == "OpenBLAS itself took Haswell; attune chose a core that fits.")
    }

    @Test func saysThatReplacingDidNotHelpOrWasNotOurs() throws {
        func note(core: String, chosen: String?, replaced: String) -> String? {
            let blas = BLASConfiguration(library: "OpenBLAS 9 DYNAMIC_ARCH", core: core, chosenCore: chosen, threads: 1)
            return MachineDescription(processor: nil, kernels: .avx512, blas: blas, replacedCore: replaced).facts
                .first { $0.name == "blas note" }?.value
        }
        let without = try #require(note(core: "Haswell", chosen: "SkylakeX", replaced: "Haswell"))
        #expect(without.contains("asked for SkylakeX and got Haswell") && !without.contains("Unset"))
        #expect(note(core: "Cooperlake", chosen: nil, replaced: "x") == nil, "somebody else's variable")
        #expect(note(core: "Cooperlake", chosen: "Cooperlake", replaced: "") == nil)
    }

    @Test func theEnvironmentsTextIsMadeSafeToPrint() throws {
        let note = try #require(facts(core: "Haswell", chosen: "Has\u{1B}[2Jwell")["blas note"])
        #expect(!note.unicodeScalars.contains("\u{1B}"))
    }

    @Test func readsTheProcessorsNameFromLinuxsDescription() {
        let text = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: A chip 9 @ 3: GHz\nmodel name\t: another\n"
        #expect(MachineDescription.processor(cpuinfo: text) == "A chip 9 @ 3: GHz")
        #expect(MachineDescription.processor(cpuinfo: "processor\t: 0\nmodel name\t:\n") == nil)
        #expect(MachineDescription.processor(cpuinfo: "BogoMIPS: 50.00\n") == nil)
    }
}
