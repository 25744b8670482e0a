// What the bound is made of, element by element, in nats, with the slopes in the mean and in the logarithm of the variance:
// src/kernels/variational_bound/gaussian.rs.
struct Term {
    value: f32,
    of_mean: f32,
    of_log_variance: f32,
}

const TANH: u32 = 1u;
const ROOT_OF_2_PI: f32 = 2.5066283;
const ROOT_OF_HALF: f32 = 0.70710678;

// e^-d - 1 + d, by its series where the parts cancel.
fn beyond_line(d: f32) -> f32 {
    if abs(d) > 0.5 {
        return exp(-d) - 1.0 + d;
    }
    var sum = 1.0;
    for (var k = 9.0; k > 2.5; k -= 1.0) {
        sum = 1.0 - d / k * sum;
    }
    return 0.5 * d * d * sum;
}

// e^-x where x is not negative.
fn fall_of(x: f32) -> f32 {
    return exp(max(-x, -80.0));
}

// 1 - e^-x.
fn rise_of(x: f32) -> f32 {
    if abs(x) > 0.5 {
        return 1.0 - exp(max(-x, -80.0));
    }
    return x - beyond_line(x);
}

// KL(N(m_q, e^log_q) || N(m_p, e^log_p)), difference being m_p - m_q.
fn gaussian_kl(difference: f32, log_q: f32, log_p: f32) -> Term {
    let ratio = log_p - log_q;
    let slope = difference * exp(-log_p);
    let far = difference * slope;
    return Term(0.5 * (beyond_line(ratio) + far), slope, 0.5 * (rise_of(ratio) - far));
}

// The logarithm of a bin's probability, its slope in a shift of both ends and in a stretch of both. The bin is mirrored so
// that more of it lies below 0 than above; an open one has no lower end.
fn normal_mass(middle: f32, half: f32, open: bool) -> vec3<f32> {
    let low = middle - half;
    let high = middle + half;
    let apart = -2.0 * half * middle; // half the difference of the ends' squares
    var other = 0.0;
    var rise = 1.0;
    if !open {
        other = fall_of(apart);
        rise = rise_of(apart);
    }
    var share = 0.0;
    var taken_out = 0.5 * high * high; // the density at the upper end
    if !open && half < 0.25 && apart < 2.0 {
        // A narrow bin is a difference of what is nearly equal: five points of Gauss & Legendre.
        let near = 0.53846931 * half;
        let far = 0.90617985 * half;
        share = 0.56888889 * exp(0.5 * half * (high + middle));
        share += 0.47862867 * (exp(0.5 * (half - near) * (high + middle + near)) + exp(0.5 * (half + near) * (high + middle - near)));
        share += 0.23692689 * (exp(0.5 * (half - far) * (high + middle + far)) + exp(0.5 * (half + far) * (high + middle - far)));
        share *= half / ROOT_OF_2_PI;
    } else if high <= 0.0 {
        share = 0.5 * erfcx_of(-ROOT_OF_HALF * high);
        if !open {
            share -= 0.5 * other * erfcx_of(-ROOT_OF_HALF * low);
        }
    } else {
        taken_out = 0.0;
        share = 1.0 - 0.5 * erfc_of(ROOT_OF_HALF * high);
        if !open {
            share -= 0.5 * erfc_of(-ROOT_OF_HALF * low);
        }
    }
    var density = 1.0 / (ROOT_OF_2_PI * share);
    if taken_out == 0.0 {
        density *= fall_of(0.5 * high * high);
    }
    let stretch = select(2.0 * half + low * rise, high, open);
    return vec3<f32>(log(share) - taken_out, density * rise, density * stretch);
}

fn log_sigmoid(y: f32) -> f32 {
    return min(y, 0.0) - log(1.0 + fall_of(abs(y)));
}

fn sigmoid_of(y: f32) -> f32 {
    return 1.0 / (1.0 + exp(min(-y, 80.0)));
}

// The same of the tanh that the published codes have for the normal distribution, and probabilities of at least 1e-12.
fn tanh_mass(middle: f32, half: f32, open: bool) -> vec3<f32> {
    let scale = 1.5957691;
    let cubic = 0.044715;
    let low = middle - half;
    let high = middle + half;
    let b = scale * high * (1.0 + cubic * high * high);
    let of_high = scale * (1.0 + 3.0 * cubic * high * high);
    var log_mass = log_sigmoid(b);
    var at_high = of_high * sigmoid_of(-b);
    var at_low = 0.0;
    if !open {
        let a = scale * low * (1.0 + cubic * low * low);
        let of_low = scale * (1.0 + 3.0 * cubic * low * low);
        let apart = 2.0 * scale * half * (1.0 + cubic * (low * low + low * high + high * high));
        let rise = rise_of(apart);
        log_mass += log_sigmoid(-a) + log(rise);
        at_high /= sigmoid_of(-a) * rise;
        at_low = of_low * sigmoid_of(-a) * (fall_of(apart) + fall_of(-a)) / rise;
    }
    if log_mass < -27.631021 {
        return vec3<f32>(-27.631021, 0.0, 0.0);
    }
    return vec3<f32>(log_mass, at_high - at_low, high * at_high - low * at_low);
}

// The negative log-likelihood of a level x_0 under a Gaussian, of which the first and the last level take the tails.
fn decoder_term(decoder: u32, x0: f32, mean: f32, log_variance: f32) -> Term {
    let scale = exp(-0.5 * log_variance);
    let middle = (x0 - mean) * scale;
    let open = abs(x0) > 0.999;
    let sign = select(1.0, -1.0, x0 > 0.999 || (!open && middle > 0.0));
    var mass = vec3<f32>(0.0);
    if decoder == TANH {
        mass = tanh_mass(sign * middle, scale / 255.0, open);
    } else {
        mass = normal_mass(sign * middle, scale / 255.0, open);
    }
    return Term(-mass.x, sign * scale * mass.y, 0.5 * mass.z);
}
