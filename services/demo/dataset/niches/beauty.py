"""Beauty: a make-up and skincare creator, a small cosmetics brand, a hair and beauty salon."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words
from services.demo.dataset.niches.world import Group, World

CREATOR = World(
    names=words("Glow by Imani|Noor Soft Focus|Bare Minimum Beauty|Lipstick & Laundry|Skin Diary Jo|Velvet Hour"),
    taglines=lines("""
        Skincare without the shouting.
        Everyday looks, real skin, drugstore heart.
        Make-up for people who have seven minutes.
    """),
    tags=words("#grwm|#skincareroutine|#makeuplook|#realskin|#beautytips"),
    groups=(
        Group(
            ref="routine",
            names=(
                words("five-minute|barrier repair|winter|oily skin|travel|budget"),
                words("morning routine|evening routine|skincare reset|sensitive skin routine"),
            ),
            aspects=words("order of steps|SPF advice|texture close-up|toner step|before and after|honesty|lighting"),
            titles=lines("""
                My {name}, step by step
                {name}: what I stopped using
                30 days of this {name}
                The {name} my skin actually likes
                {name} with products under 15
                I asked a skin therapist to judge my {name}
            """),
        ),
        Group(
            ref="look",
            names=(
                words("soft|smoky|dewy|peach|rainy day|wedding guest"),
                words("eye look|glam look|no-makeup look|lip combo|blush look"),
            ),
            aspects=words("blending|liner|colour choice|skin prep|lip shade|brush technique|tutorial pace"),
            titles=lines("""
                {name} for hooded eyes
                Get ready with me: {name}
                {name} using only six products
                {name}, slowed down for beginners
                Trying a {name} after ten years of black liner
                {name} that lasted through a heatwave
            """),
        ),
        Group(
            ref="product",
            names=(
                words("Solene|Maru Botanics|Oat & Ivy|Pelle"),
                words("lip oil|peptide serum|cloud blush|tinted SPF|rice cleanser|curl cream"),
            ),
            aspects=words("wear test|shade range|ingredient list|finish|swatch|scent|price"),
            titles=lines("""
                {name}: first impressions and wear test
                Is the {name} worth the hype?
                {name} on dry skin, day 1 to day 21
                I finished a whole {name}, here is the truth
                {name} against a cheaper dupe
            """),
        ),
    ),
    praise=lines("""
        Tried the {name} this morning and got two compliments before lunch.
        My skin has calmed down so much since I started your {name}.
        You make a {name} look doable even for my shaky hands.
        Finally someone showing a {ref} on skin with texture.
        Did this {ref} for {who} and she loved it.
        The {name} is my new go-to for work.
        You explain every {ref} like a friend would.
        I'm 52 and this {ref} works on me too, thank you.
        Been doing the {name} for {span} and wow.
        Loved that you left the mistakes in the {name}.
        No filter, no nonsense, just a good {ref}.
    """),
    gripe=lines("""
        Tried the {name} and my skin broke out within days.
        Too many affiliate links for one {ref}.
        The filter makes it impossible to judge the {name}.
        The {name} creased on me after an hour.
        Shade match for the {name} is off, you can see the line on your neck.
        You say budget {ref} and then use a serum for 60?
        The {name} went by so fast I couldn't follow a thing.
        Wish you had mentioned that the {name} is heavily scented.
    """),
    ask=lines("""
        Would the {name} work on combination skin?
        What shade are you wearing in the {name}?
        Can I do the {name} if I wear glasses?
        Is the {name} okay during pregnancy?
        How often do you do this {ref} in a week?
        Which brush did you use for the {name}?
        Any fragrance-free swap in the {name}?
        Could you do a {name} for deeper skin tones?
    """),
    note=lines("""
        Me, watching a {name} with a face mask from last night still on.
        I own nine of these and use one.
        I usually skip that step in the {name}, no idea if it matters.
        {who_cap} thinks every {ref} is the same, so we're doing a test.
        The way I gasped when the mirror fell over.
        Saving the {name} for the weekend.
    """),
)

BRAND = World(
    names=words("Oat & Ivy|Solene Skin|Maru Botanics|Petal Theory|Nord & Nettle"),
    taglines=lines("""
        Gentle formulas, small batches, full ingredient lists.
        Skincare that does less, better.
        Made with oats, ivy and a lot of patience.
    """),
    tags=words("#cleanbeauty|#skincare|#newin|#smallbatch|#selfcare"),
    groups=(
        Group(
            ref="serum",
            names=(words("Dew|Calm|Bright|Night"), words("Drops|Serum|Concentrate|Ampoule|Essence")),
            aspects=words("texture|scent|dropper|glass bottle|absorption|effect on redness|price"),
            titles=lines("""
                Say hello to {name}
                {name} is back after the waitlist
                How to layer {name}
                Your skin on {name}: week one to four
                Why we changed the bottle of {name}
                Three ways to use {name}
            """),
        ),
        Group(
            ref="lip colour",
            names=(words("Fig|Brick|Rosewood|Plum|Honey"), words("Lip Oil|Soft Matte|Tint|Balm Stick")),
            aspects=words("pigment|shade|staying power|applicator|shine|finish|case"),
            titles=lines("""
                New shade: {name}
                {name} on six skin tones
                {name}: one swipe, no mirror
                You voted, it's here: {name}
                {name} and a good coat, that's the look
            """),
        ),
        Group(
            ref="shampoo",
            names=(words("Oat|Nettle|Rice|Rosemary"), words("Shampoo Bar|Curl Wash|Scalp Wash|Gentle Shampoo")),
            aspects=words("lather|scent|effect on my scalp|tin|ingredient list|size|result after one wash"),
            titles=lines("""
                {name}: less plastic, more lather
                Meet {name}, made for hard water
                {name} before and after
                Ask our chemist: what is in {name}?
                Refill week: {name}
            """),
        ),
    ),
    praise=lines("""
        My skin drinks up the {name}.
        On my third {name} already.
        The {name} calmed my cheeks in about {span}.
        Gave a {name} to {who} and now she steals mine.
        Sensitive skin here and the {name} causes zero irritation.
        First {ref} I've ever finished to the last drop.
        People keep asking what I changed, it's the {name}.
        A little of the {name} goes a long way.
        Love a {ref} with a short ingredient list.
        The {name} smells like a tiny holiday.
    """),
    gripe=lines("""
        The {name} gave me a rash after two uses.
        My {name} leaked all over the parcel.
        You changed the formula of the {name} and it's not the same.
        The {name} dried out my skin.
        The cap of my {name} broke in {span}.
        Shade of the {name} is nothing like the pictures.
        Half the {name} was empty when it arrived.
        Expensive for a {ref} that does nothing for me.
    """),
    ask=lines("""
        Is the {name} vegan?
        Can I use the {name} with retinol?
        Will there be a mini size of the {name}?
        When does the {name} come back in stock?
        Is the {name} fragrance-free?
        How long does one {name} last if used daily?
        Is this {ref} safe for teenagers?
        Can the packaging of the {name} be recycled?
    """),
    note=lines("""
        Adding the {name} to my birthday list.
        I have so much {ref} at home that I'm on a buying ban.
        Trying the sample of the {name} tonight.
        {who_cap} uses the {name} as hand cream, each to their own.
        Deciding between the {name} and the other one, no rush.
    """),
)

LOCAL = World(
    names=words("Studio Marlow|The Copper Comb|Salon Verbena|Hazel & Brow|Linden Hair Room"),
    taglines=lines("""
        Hair, brows and a good cup of tea.
        Colour specialists in a quiet side street.
        Walk in tired, walk out shining.
    """),
    tags=words("#hairtransformation|#salonlife|#balayage|#brows|#shoplocal"),
    groups=(
        Group(
            ref="hair appointment",
            names=(
                words("balayage|root touch-up|curly cut|bob cut|gloss treatment|fringe trim"),
                words("appointment|session|package with blow-dry"),
            ),
            aspects=words("colour|cut|head massage|consultation|price|result|blow-dry"),
            titles=lines("""
                Fresh from the chair: {name}
                {name}: two slots left this week
                What to bring to your {name}
                From box dye to this: {name}
                Autumn tones, easy {name}
                How we plan a {name}
            """),
        ),
        Group(
            ref="treatment",
            names=(
                words("brow lamination|gel manicure|deep cleanse facial|lash lift|spa pedicure"),
                words("treatment|express slot|for two|with aftercare"),
            ),
            aspects=words("hygiene|attention to detail|aftercare advice|price|music|timing|finish"),
            titles=lines("""
                New on the menu: {name}
                {name}, Tuesday to Thursday
                Everything you ask about our {name}
                Before and after: {name}
                Treat someone: {name}
            """),
        ),
    ),
    praise=lines("""
        {staff} listened to what I wanted and nailed it.
        First {ref} in years that I walked out of smiling.
        Left the {name} feeling like a new person.
        Booked the next {name} before I even left.
        {staff} fixed a colour disaster from another salon.
        I've had compliments all week since the {name}.
        Lovely {name}, no pushy selling at all.
        They took their time with my thick hair and never made it a problem.
        Brought {who} along for a {name} and we both loved it.
    """),
    gripe=lines("""
        Asked for a trim at my {name} and lost ten centimetres.
        Had to wait 45 minutes past my {name}.
        The {name} cost a lot more than the price list says.
        Colour from the {name} washed out in a week.
        Felt rushed through the whole {name}.
        {staff} was on the phone for half of my {name}.
        The {name} started lifting after three days.
        They cancelled my {name} an hour before.
    """),
    ask=lines("""
        How much is the {name} for long hair?
        Do you have a slot for a {name} on {day}?
        How long does the {name} last?
        Do I need a patch test before the {name}?
        Is {staff} still taking new clients?
        Can I book the {name} online?
        Do you do vouchers for the {name}?
    """),
    note=lines("""
        Thinking about a {name} before the holidays.
        My fringe is a cry for help.
        Haven't been since spring, I should book a {name}.
        Tagging {who} so that this is no longer only my idea.
        Moved away, so no more {ref} for me.
    """),
    place="salon",
)
