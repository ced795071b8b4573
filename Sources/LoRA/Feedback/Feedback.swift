internal import TensorCore

/// One signal from a user about an embedding.
public struct Feedback: Sendable {
    /// What the user showed.
    public enum Signal: Sendable {
        /// The personalized embedding should have been this, `[dimension]`. Loss `‖y − t‖² / dimension`.
        case target([Float])
        /// One item was preferred over each of some others. Loss: mean of `log(1 + exp(−(score₊ − score₋)))` (BPR,
        /// Rendle et al. 2009, [arXiv:1205.2618](https://arxiv.org/abs/1205.2618), §4.1).
        case preference(Item, over: [Item])
        /// One item was chosen from a list of shown ones. Loss: softmax cross-entropy at the configured temperature
        /// (InfoNCE, van den Oord et al. 2018, [arXiv:1807.03748](https://arxiv.org/abs/1807.03748), §2.3).
        case ranking(Item, among: [Item])
        /// An item of a catalogue was liked; what it is contrasted with is configured (``ObjectiveConfiguration/like``).
        /// Items in `seen`, which the user knew already, are never used as contrast.
        case like(Int, in: ItemCatalogue, seen: [Int] = [])
        /// A reward in −1...1 for an item shown in this context. Loss `abs(ρ)·log(1 + exp(−sign(ρ)·score))`, ρ = reward −
        /// baseline: a negative reward pushes away.
        case reward(Float, for: Item)
        /// What a viewer did with an item; mapped to a reward by ``WatchEvent/reward(neutral:)``.
        case watch(WatchEvent, of: Item)
        /// Target `reward · x`, as some older systems do. Kept for compatibility only: under cosine scoring it personalizes
        /// nothing, because it changes the length of the embedding and not its direction.
        case scaledInput(reward: Float)
    }

    /// The embedding x that was personalized when the user reacted, `[dimension]`.
    public var embedding: [Float] { didSet { origin = nil } }
    /// What the user showed.
    public var signal: Signal
    /// The sample's weight in its batch, at least 0: a batch's loss and gradient are `Σ w·l / Σ w`, so in a batch of one it
    /// cancels.
    public var weight: Float
    /// The probability with which the item was shown, in (0, 1], when it was logged. Multiplies the weight by `1 / propensity`,
    /// clipped at ``ObjectiveConfiguration/highestInversePropensity``; dividing by `Σ w` makes the estimate self-normalised
    /// (Swaminathan & Joachims 2015, *The self-normalized estimator for counterfactual learning*, §4).
    public var propensity: Float?
    /// The item whose embedding x is, when it is one: a journal then keeps its number in the catalogue instead of x.
    package private(set) var origin: CataloguedItem?

    /// A signal about an embedding.
    public init(embedding: [Float], signal: Signal, weight: Float = 1, propensity: Float? = nil) {
        self.embedding = embedding
        self.signal = signal
        self.weight = weight
        self.propensity = propensity
    }

    /// A signal about the embedding of an item of a catalogue. A journal keeps it in tens of bytes.
    ///
    /// - Parameters:
    ///   - index: The item whose embedding was personalized, `0..<catalogue.count`; anything else is a programmer's error.
    ///   - catalogue: Where the item is.
    ///   - signal: What the user showed.
    public init(
        of index: Int, in catalogue: ItemCatalogue, signal: Signal, weight: Float = 1, propensity: Float? = nil
    ) {
        precondition(index >= 0 && index < catalogue.count, "Feedback: item \(index) is not in the catalogue")
        self.init(embedding: catalogue.vectors.row(index), signal: signal, weight: weight, propensity: propensity)
        origin = CataloguedItem(index: index, catalogue: catalogue)
    }
}

/// A row of a catalogue.
package struct CataloguedItem: Sendable {
    package let index: Int
    package let catalogue: ItemCatalogue
}

/// What a viewer did with an item.
public struct WatchEvent: Sendable, Hashable {
    /// The share that was watched, 0...1.
    public var completion: Float
    /// The rating given, 0...5; 0 when none.
    public var rating: Float
    /// Whether it was watched again.
    public var rewatched: Bool

    /// A viewing.
    public init(completion: Float, rating: Float = 0, rewatched: Bool = false) {
        self.completion = completion
        self.rating = rating
        self.rewatched = rewatched
    }

    /// The event's score in 0...1: half its completion, 0.3 for a full rating, 0.2 for watching again.
    public var score: Float { min(1, completion * 0.5 + rating / 5 * 0.3 + (rewatched ? 0.2 : 0)) }

    /// The score as a reward in −1...1: 0 at `neutral`, linear on both sides, ±1 at the ends.
    ///
    /// - Parameter neutral: The score that says nothing, in (0, 1).
    public func reward(neutral: Float) -> Float {
        score >= neutral ? (score - neutral) / (1 - neutral) : (score - neutral) / neutral
    }
}
