// The only file that includes hnswlib: the library defines functions that aren't inline.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// Without its prefetches, which read an element past the end of a full list of links to learn an address.
#define NO_MANUAL_VECTORIZATION
#endif
#endif
#include <hnswlib/hnswlib.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <limits>
#include <memory>
#include <new>

#include "CHnsw.h"
#include <ckernels.h>

namespace {

/// Distance is the inner product with the sign turned: only the order of distances matters, and so no bit is lost.
struct Products final : hnswlib::SpaceInterface<float> {
    size_t dimension;

    explicit Products(size_t dimension) : dimension(dimension) {}

    static float distance(const void *a, const void *b, const void *dimension) {
        return -attune_dot(
            static_cast<const float *>(a), static_cast<const float *>(b), *static_cast<const size_t *>(dimension));
    }

    size_t get_data_size() override { return dimension * sizeof(float); }
    hnswlib::DISTFUNC<float> get_dist_func() override { return distance; }
    void *get_dist_func_param() override { return &dimension; }
};

using Index = hnswlib::HierarchicalNSW<float>;

const size_t most_vectors = std::numeric_limits<int32_t>::max();

attune_graph_status fail(attune_graph_failure *failure, attune_graph_status status, const char *text) noexcept {
    std::snprintf(failure->text, sizeof failure->text, "%s", text);
    return status;
}

} // namespace

struct attune_graph {
    Products space;
    Index index;
    /// A call failed halfway.
    bool is_broken = false;

    attune_graph(const attune_graph_settings &settings, size_t capacity)
        : space(settings.dimension),
          index(&space, capacity, settings.links, settings.construction, static_cast<size_t>(settings.seed)) {
        index.label_lookup_.reserve(capacity);
    }
};

namespace {

/// Runs `body` and says what it threw. After an exception the graph is of no use.
template <typename Body>
attune_graph_status guarded(attune_graph *graph, attune_graph_failure *failure, Body body) noexcept {
    failure->text[0] = 0;
    if (graph->is_broken) return fail(failure, ATTUNE_GRAPH_BROKEN, "an earlier call failed halfway");
    try {
        return body();
    } catch (const std::bad_alloc &) {
        graph->is_broken = true;
        return fail(failure, ATTUNE_GRAPH_NO_MEMORY, "there is no memory");
    } catch (const std::exception &error) {
        graph->is_broken = true;
        return fail(failure, ATTUNE_GRAPH_BROKEN, error.what());
    } catch (...) {
        graph->is_broken = true;
        return fail(failure, ATTUNE_GRAPH_BROKEN, "an exception without words");
    }
}

bool is_finite(const float *vector, size_t count) noexcept {
    for (size_t i = 0; i < count; i++) {
        if (!std::isfinite(vector[i])) return false;
    }
    return true;
}

} // namespace

attune_graph *attune_graph_create(
    attune_graph_settings settings, size_t capacity, attune_graph_failure *failure) {
    failure->text[0] = 0;
    if (settings.dimension < 1 || settings.dimension > 65536 || settings.links < 2 || settings.links > 100
        || settings.construction < 1 || settings.construction > 10000
        || capacity < 1 || capacity > most_vectors) {
        fail(failure, ATTUNE_GRAPH_INVALID, "a setting is out of range");
        return nullptr;
    }
    try {
        return new attune_graph(settings, capacity);
    } catch (const std::bad_alloc &) {
        fail(failure, ATTUNE_GRAPH_NO_MEMORY, "there is no memory");
    } catch (const std::exception &error) {
        fail(failure, ATTUNE_GRAPH_NO_MEMORY, error.what());
    } catch (...) {
        fail(failure, ATTUNE_GRAPH_BROKEN, "an exception without words");
    }
    return nullptr;
}

void attune_graph_free(attune_graph *graph) { delete graph; }

attune_graph_status attune_graph_add(
    attune_graph *graph, const float *vector, uint64_t label, attune_graph_failure *failure) {
    return guarded(graph, failure, [&] {
        Index &index = graph->index;
        if (!is_finite(vector, graph->space.dimension)) {
            return fail(failure, ATTUNE_GRAPH_INVALID, "the vector isn't finite");
        }
        if (index.cur_element_count >= index.max_elements_) {
            return fail(failure, ATTUNE_GRAPH_REFUSED, "the graph is full");
        }
        // hnswlib would overwrite the vector of that label.
        if (index.label_lookup_.count(label) != 0) {
            return fail(failure, ATTUNE_GRAPH_REFUSED, "the label is taken");
        }
        index.addPoint(vector, static_cast<hnswlib::labeltype>(label));
        return ATTUNE_GRAPH_OK;
    });
}

attune_graph_status attune_graph_search(
    const attune_graph *graph, const float *query, size_t limit, uint64_t *labels, float *products, size_t *found,
    attune_graph_failure *failure) {
    failure->text[0] = 0;
    *found = 0;
    if (graph->is_broken) return fail(failure, ATTUNE_GRAPH_BROKEN, "an earlier call failed halfway");
    if (limit < 1 || !is_finite(query, graph->space.dimension)) {
        return fail(failure, ATTUNE_GRAPH_INVALID, "the limit is 0, or the query isn't finite");
    }
    // A search changes nothing but what is visited, which is its own: the graph stays good if it fails.
    try {
        auto nearest = graph->index.searchKnn(query, limit);
        *found = nearest.size();
        for (size_t i = nearest.size(); i-- > 0; nearest.pop()) {
            labels[i] = nearest.top().second;
            products[i] = -nearest.top().first;
        }
        return ATTUNE_GRAPH_OK;
    } catch (const std::bad_alloc &) {
        return fail(failure, ATTUNE_GRAPH_NO_MEMORY, "there is no memory");
    } catch (const std::exception &error) {
        return fail(failure, ATTUNE_GRAPH_BROKEN, error.what());
    } catch (...) {
        return fail(failure, ATTUNE_GRAPH_BROKEN, "an exception without words");
    }
}

size_t attune_graph_count(const attune_graph *graph) { return graph->index.cur_element_count; }
