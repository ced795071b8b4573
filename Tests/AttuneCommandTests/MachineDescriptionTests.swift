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
