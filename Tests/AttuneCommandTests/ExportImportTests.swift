import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// Adapters out of a storage file and into one: nothing is lost on the way, and nothing is done by halves.
@Suite struct ExportImportTests {
    static let updates = [UpdateConfiguration(dimension: Shop.dimension), Shop.stateful]

    /// The configuration of adapters that a schedule has something to remember of as well.
    private static var plateau: UpdateConfiguration {
        var update = Shop.stateful
        update.schedule = Schedule(.reduceOnPlateau(factor: 0.5, patience: 1, threshold: 0.9, cooldown: 1, minimum: 0))
        return update
    }

    @Test(arguments: updates + [plateau])
    func anAdapterThatWasCarriedGoesOnToTheBit(_ update: UpdateConfiguration) async throws {
        let folder = try TestFolder()
        let shop = try Shop(update: update)
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        let exported = await attune(
            "export", folder("a.db"), "--user", "ada", "--to", folder("ada.safetensors"), "--format", "json")
        let facts = try object(exported.output)
        #expect(exported.code == .success && exported.errors.isEmpty)
        #expect(facts["version"] as? String == "10" && facts["replayed_entries"] as? Int == 4)
        #expect(facts["keeps_state"] as? Bool == true && facts["outputs_largest_error"] as? Double == 0)
        #expect(try rights(folder("ada.safetensors")) == 0o600)
        let imported = await attune(
            "import", folder("b.db"), "--user", "ada", "--from", folder("ada.safetensors"), "--format", "json")
        #expect(imported.code == .success && imported.errors.isEmpty)
        let said = try object(imported.output)
        #expect(said["version"] as? String == "10" && said["version_before"] is NSNull)
        #expect(said["kind"] as? String == "attune" && said["written_for_user"] as? String == "ada")
        #expect(await attune("verify", folder("b.db")).code == .success)

        // As many more steps here as there, from where the one is and the other was put.
        let stayed = try #require(try await shop.adapter(folder("a.db"), "ada", after: 10..<22))
        let carried = try #require(try await shop.adapter(folder("b.db"), "ada", after: 10..<22))
        #expect(carried.snapshot() == stayed.snapshot() && carried.version == 22)
        for file in ["a.db", "b.db"] { #expect(await attune("verify", folder(file)).code == .success) }
        // Another id than the file's is the importer's wish.
        let other = await attune("import", folder("b.db"), "--user", "eve", "--from", folder("ada.safetensors"))
        #expect(other.code == .success && other.output.contains("written_for_user  ada"))
    }

    @Test(arguments: [AdapterPrecision.float16, .int8])
    func lessPrecisionSaysWhatItCost(_ precision: AdapterPrecision) async throws {
        let folder = try TestFolder()
        try await Shop(update: Shop.stateful).make(folder("a.db"), users: ["ada"])
        let run = await attune(
            "export", folder("a.db"), "--user", "ada", "--to", folder("ada"), "--precision", precision.rawValue,
            "--format", "json")
        let facts = try object(run.output)
        #expect(run.code == .success && facts["keeps_state"] as? Bool == false)
        let error = try #require(facts["outputs_largest_error"] as? Double)
        #expect(error > 0 && error < 0.02)
        #expect(await attune("import", folder("b.db"), "--user", "ada", "--from", folder("ada")).code == .success)
        let text = await attune("show", folder("b.db"), "--user", "ada")
        #expect(text.code == .success && text.output.contains("optimizer_state         none"))
    }

    @Test func PEFTFoldersComeBack() async throws {
        let folder = try TestFolder()
        let shop = try Shop()
        try await shop.make(folder("a.db"), users: ["ada"])
        let run = await attune("export", folder("a.db"), "--user", "ada", "--as", "peft", "--to", folder("peft"))
        #expect(run.code == .success && run.errors.isEmpty && run.output.contains("peft"))
        #expect(try rights(folder("peft")) == 0o700)
        #expect(try rights(folder("peft/adapter_model.safetensors")) == 0o600)
        let imported = await attune(
            "import", folder("b.db"), "--user", "ada", "--from", folder("peft"), "--embedding-model", "test",
            "--format",
            "json")
        #expect(imported.code == .success && imported.errors.isEmpty)
        let facts = try object(imported.output)
        #expect(facts["kind"] as? String == "peft" && facts["written_for_user"] is NSNull)
        // Version 0 would be an adapter that nobody taught yet, which a bank may start anew.
        #expect(facts["version"] as? String == "1")
        let (old, new) = (
            try #require(try await shop.adapter(folder("a.db"), "ada")),
            try #require(try await shop.adapter(folder("b.db"), "ada"))
        )
        // The scale is 1, so that the bias is to the bit too.
        #expect(old.down.array == new.down.array && old.up.array == new.up.array && old.bias == new.bias)
        _ = try await shop.adapter(folder("b.db"), "ada", after: 0..<3)
        #expect(await attune("verify", folder("b.db")).code == .success)
    }

    @Test func whatCannotBeExportedLeavesNothing() async throws {
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: ["ada"])
        func export(_ more: String...) async -> Transcript {
            await attune(arguments: ["export", folder("a.db"), "--user", "ada"] + more)
        }
        try Data("kept".utf8).write(to: URL(filePath: folder("there")))
        let names = try folder.names
        for kind in ["attune", "peft", "json"] {
            let there = await export("--as", kind, "--to", folder("there"))
            #expect(there.code == .cannotCreate && there.errors.contains("already"))
            #expect(try bytes(folder("there")) == Array("kept".utf8))
            let missing = await export("--as", kind, "--to", folder("none/there"))
            #expect(missing.code == .cannotCreate && missing.errors.contains(folder("none/there")))
        }
        #expect(await export().code == .usage)
        #expect(await export("--to", folder("x"), "--as", "json", "--precision", "int8").code == .usage)
        #expect(await export("--to", folder("x"), "--as", "numpy").code == .usage)
        #expect(try folder.names == names)
        // A normalised output has no counterpart in PEFT; the folder that was begun goes again.
        let shape = try AdapterShape(dimension: 3, rank: 1, normalizesOutput: true)
        let adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, user: "eve"))
        let storage = try await SQLiteStorage(path: folder("a.db"))
        try await storage.save([StoredAdapter(user: "eve", embeddingModel: "test", adapter: adapter)])
        await storage.close()
        let refused = await attune("export", folder("a.db"), "--user", "eve", "--as", "peft", "--to", folder("peft"))
        #expect(refused.code == .badData && refused.errors.contains("normalises"))
        #expect(try folder.names == names)
    }

    @Test func whatCannotBeImportedChangesNothing() async throws {
        let folder = try TestFolder()
        let shop = try Shop(update: Shop.stateful)
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        for (kind, path) in [("attune", "ada"), ("peft", "peft")] {
            _ = await attune("export", folder("a.db"), "--user", "ada", "--as", kind, "--to", folder(path))
        }
        #expect(await attune("forget", folder("a.db"), "--user", "bob").code == .success)
        let before = await attune("users", folder("a.db")).output
        func importing(_ user: String, _ source: String, _ more: String...) async -> Transcript {
            await attune(arguments: ["import", folder("a.db"), "--user", user, "--from", folder(source)] + more)
        }
        let exists = await importing("ada", "ada")
        #expect(exists.code == .badData && exists.errors.contains("--replace") && exists.errors.contains("version 10"))
        let forgotten = await importing("bob", "ada")
        #expect(forgotten.code == .badData && forgotten.errors.contains("--readmit"))
        #expect(await importing("bob", "ada", "--replace").code == .badData)

        let whole = try bytes(folder("ada"))
        for count in [0, 7, 8, 100, whole.count / 2, whole.count - 1] {
            try Data(whole.prefix(count)).write(to: URL(filePath: folder("cut")))
            let cut = await importing("eve", "cut")
            #expect(cut.code == .badData && cut.errors.contains(folder("cut")), "\(count)")
        }
        // In the state, in numbers that would be numbers still, and in the last one.
        for place in [whole.count - 20, whole.count / 2, whole.count - 1] {
            var flipped = whole
            flipped[place] ^= 1
            try Data(flipped).write(to: URL(filePath: folder("flipped")))
            let run = await importing("eve", "flipped")
            #expect(run.code == .badData && run.errors.contains("\(folder("flipped")): the file is damaged"))
        }
        #expect(await importing("eve", "none").code == .noInput)
        let model = await importing("eve", "ada", "--embedding-model", "other")
        #expect(model.code == .badData && model.errors.contains("'test', not 'other'"))
        #expect(await importing("eve", "ada", "--module", "x").code == .usage)
        #expect(await importing("eve", "peft").code == .usage)
        let module = await importing("eve", "peft", "--embedding-model", "test", "--module", "elsewhere")
        #expect(module.code == .badData && module.errors.contains("personalization"))
        #expect(await importing("eve", "ada", "--as", "peft", "--embedding-model", "test").code == .noInput)
        #expect(await importing("eve", "peft", "--as", "attune").code == .noInput)
        #expect(await attune("import", folder("a.db"), "--user", "eve").code == .usage)
        #expect(await attune("import", folder("a.db"), "--from", folder("ada")).code == .usage)
        for missing in ["adapter_config.json", "adapter_model.safetensors"] {
            try FileManager.default.removeItem(atPath: folder("peft/" + missing))
            let run = await importing("eve", "peft", "--embedding-model", "test")
            #expect(run.code == .noInput && run.errors.contains("adapter_config.json"))
        }
        // A version from which nobody could go on.
        let last = try AdapterFile.read(folder("ada")).adapter
        let huge = try LoRAAdapter(
            shape: last.shape, identity: last.identity, down: last.down, up: last.up, bias: last.bias,
            version: (1 << 62) - 1)
        try AdapterFile.write(
            StoredAdapter(user: "eve", embeddingModel: "test", adapter: huge), to: folder("huge"))
        let refused = await importing("eve", "huge")
        #expect(refused.code == .badData && refused.errors.contains("leaves too few above it"))
        #expect(await attune("users", folder("a.db")).output == before)
        #expect(await attune("verify", folder("a.db")).code == .success)
        // What is refused makes no new file.
        #expect(await attune("import", folder("new.db"), "--user", "eve", "--from", folder("cut")).code == .badData)
        #expect(try !folder.names.contains("new.db"))
        #expect(await attune("import", folder("ada"), "--user", "eve", "--from", folder("ada")).code == .badData)
        #expect(try bytes(folder("ada")) == whole)
    }

    @Test func aUserIsReplacedOrReadmittedWhenThatIsAskedFor() async throws {
        let folder = try TestFolder()
        let shop = try Shop(update: Shop.stateful)
        try await shop.make(folder("a.db"), users: ["ada", "bob"])
        _ = await attune("export", folder("a.db"), "--user", "ada", "--to", folder("ada"))
        // Another user's, who has come further than the file's adapter.
        let again = await attune(
            "import", folder("a.db"), "--user", "bob", "--from", folder("ada"), "--replace", "--format", "json")
        let facts = try object(again.output)
        #expect(again.code == .success && facts["version_before"] as? String == "10")
        #expect(facts["version"] as? String == "11" && facts["removed_entries"] as? Int == 10)
        #expect(await attune("verify", folder("a.db")).output.contains("2 users, 10 updates"))
        let shown = try object(await attune("show", folder("a.db"), "--user", "bob", "--format", "json").output)
        #expect(shown["base_version"] as? String == "11" && shown["saved_version"] as? String == "11")
        #expect(shown["entries"] as? Int == 0 && shown["feedback_ids"] as? Int == 0)
        // An event that the old adapter knew is new to this one.
        let learned = try #require(try await shop.adapter(folder("a.db"), "bob", after: 0..<1))
        #expect(learned.version == 12 && learned.steps == 11)
        #expect(await attune("verify", folder("a.db")).code == .success)

        #expect(await attune("forget", folder("a.db"), "--user", "bob").code == .success)
        let back = await attune("import", folder("a.db"), "--user", "bob", "--from", folder("ada"), "--readmit")
        #expect(back.code == .success)
        #expect(try #require(try await shop.adapter(folder("a.db"), "bob", after: 10..<12)).version == 12)
        #expect(await attune("verify", folder("a.db")).code == .success)
    }

    @Test func aFileInUseIsReadAndNotWritten() async throws {
        let folder = try TestFolder()
        let shop = try Shop()
        // No adapter was saved yet: everything stands in the journal alone.
        try await shop.make(folder("a.db"), users: ["ada"], steps: 5, unsaved: 5)
        let storage = try await SQLiteStorage(path: folder("a.db"))
        let exported = await attune("export", folder("a.db"), "--user", "ada", "--to", folder("ada"))
        #expect(exported.code == .success && exported.output.contains("replayed_entries                   5"))
        for arguments in [
            ["import", folder("a.db"), "--user", "eve", "--from", folder("ada")],
            ["import", folder("a.db"), "--user", "ada", "--from", folder("ada"), "--replace"],
            ["migrate", folder("a.db"), "--rank", "2"],
        ] {
            let refused = await attune(arguments: arguments)
            #expect(refused.code == .ioError && refused.errors.contains("writes to it"), "\(arguments)")
        }
        #expect(await attune("migrate", folder("a.db"), "--rank", "2", "--dry-run").code == .success)
        let engine = try shop.engine(storage)
        #expect(try await engine.adapter(for: "ada")?.version == 5)
        await storage.close()
        let expected = try #require(try await shop.adapter(folder("a.db"), "ada"))
        #expect(try AdapterFile.read(folder("ada")).adapter.snapshot() == expected.snapshot())
    }
}
